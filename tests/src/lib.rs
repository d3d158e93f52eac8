//! The lab: network namespaces, real traffic, and what is checked of it.
//!
//! Nothing here shares code with the router under test: the lab reads frames, the wire format and the router's answers
//! with its own eyes, so that a mistake in the dataplane cannot hide in its own mirror. [`voice`] puts the parts
//! together into the experiment that `carpool-demo` and the end to end tests run; start there.
#![deny(unsafe_code)]

pub mod capture;
pub mod carpoold;
pub mod chain;
pub mod compare;
pub mod control;
pub mod delay;
pub mod error;
pub mod frame;
pub mod headers;
pub mod idle;
pub mod lab;
pub mod leftovers;
pub mod model;
pub mod namespace;
pub mod network;
pub mod pcap;
pub mod probe;
pub mod process;
pub mod relay;
pub mod report;
pub mod rtp;
pub mod scenarios;
pub mod simplemux;
pub mod transit;
pub mod voice;
pub mod wire;

pub use error::{Error, Result};
