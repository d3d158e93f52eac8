//! pool

pub mod hello;
pub mod packet_depooler;
pub mod pooled_packet_detector;
pub mod sequence;
pub mod wire;
