//! The ground both binaries stand on: settings, sockets, stopping, logs, metrics.
//! It knows neither mail nor balancing. `balancer` and `mailnode` use it.

pub mod config;
pub mod logging;
pub mod shutdown;
pub mod units;
