//! Extraction on the way: a chain of routers with branches, real voice to everyone, and where each packet got out.
//!
//! [`network`] is the plan of the chain, [`run`] the experiment on it, [`report`] its figures.

pub mod network;
pub mod report;
pub mod run;
