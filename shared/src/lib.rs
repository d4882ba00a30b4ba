//! The ground both binaries stand on: settings, sockets, stopping, logs, metrics.
//! It knows neither mail nor balancing. `balancer` and `mailnode` use it.

pub mod address_limit;
pub mod admin;
pub mod checkup;
pub mod config;
pub mod listener;
pub mod logging;
pub mod metrics;
pub mod proxy_header;
pub mod shutdown;
pub mod units;
