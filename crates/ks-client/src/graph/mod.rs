//! Streaming graphs: the text that describes one, and what is made of it.
//!
//! [`grammar`] turns text into a [`spec::Graph`]; the text is all it knows, no filter is opened for it. [`run`] opens the
//! filters, connects them and streams; `element` is what every element takes beside the settings of its filter, `order` says which link comes first, `negotiate` is how two pins agree;
//! `looped` carries sound to and from a pin that has a buffer in the place of frames; [`capture`] reads a single frame.

pub mod capture;
mod clock;
mod element;
mod error;
pub mod excerpt;
pub mod grammar;
mod looped;
mod negotiate;
mod order;
pub mod run;
pub mod spec;
