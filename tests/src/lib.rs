//! The lab: network namespaces, real traffic and what is checked of it.
#![deny(unsafe_code)]
