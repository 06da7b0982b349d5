//! Streaming graphs: the text that describes one, and what is made of it.
//!
//! [`grammar`] turns text into a [`spec::Graph`]; the text is all it knows, no filter is opened for it.

pub mod excerpt;
pub mod grammar;
pub mod spec;
