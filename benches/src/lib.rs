//! What the programs of this package share.
#![deny(unsafe_code)]

pub mod child;
pub mod cpu;
pub mod error;
pub mod interrupt;
pub mod plot;
pub mod turn;
