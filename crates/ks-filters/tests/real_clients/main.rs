//! What two real clients ask, request by request over raw device control, as an audio host and a video capture element
//! send it: their order, the sizes that they rely on, and what they require of an answer.
#![expect(clippy::unwrap_used, reason = "tests")]

mod audio_host;
mod client;
mod cyclic_host;
mod looped_devices;
mod looped_host;
mod looped_packets;
mod looped_topology;
mod video_element;
