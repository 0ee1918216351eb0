//! The control plane over real loopback HTTP, and its reconcilers across crashes.

mod http;
mod load;
mod reconcilers;
mod roles;
mod support;
