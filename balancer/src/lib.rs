//! Carries connections to mail nodes: which node, how to reach it, what if it fails.
//! It knows nothing of mail beyond what a greeting and a refusal look like. `main` and the tests
//! call it.
//!
//! The way of a client: `doors` lets it in · `connection` is its whole life, one function ·
//! `admission` may it come in? (`rate` how often?) · `backends` which node? (pure) · `reach` finds
//! one that serves, by a `race` where one is slow, each by a `dial` from one of our `ports`;
//! `greeting` and `flight` are what is said until then · `relay` bytes both ways · `refusal` the
//! words if there is none · `account` its log line and counts. It lives in one of the loops of
//! `crew`: `eventloop` polls it when one of its sockets or its deadline asks for it.
//!
//! Beside it: `config` reads the file into `settings` · `reload` watches it · `house` puts it in
//! force · `probe` knocks at nodes and `interview` hears them, through `socket`, when a `bell`
//! rings (`hello` is what it says where clients speak TLS); `comeback` leads one back that is up
//! again · `self_check` at our own doors · `virtual_ip` holds the address · `verdict` what a failed
//! dial means · `farewell` empties a node, `mourning` one that is down · `api` what an operator
//! asks and says, through `admin_door` · `metrics`, `pulse` and `outcome` what is seen ·
//! `descriptors` how many fit · `checkup` is all around the file as it has to be? · `commands` the
//! command line.

pub mod account;
pub mod admin_door;
pub mod admission;
pub mod api;
pub mod backends;
pub mod bell;
mod checkup;
mod comeback;
pub mod commands;
pub mod config;
pub mod connection;
pub mod crew;
pub mod descriptors;
mod dial;
pub mod doors;
mod eventloop;
pub mod farewell;
mod flight;
pub mod greeting;
mod hello;
pub mod house;
pub mod interview;
pub mod metrics;
mod mourning;
pub mod outcome;
pub mod ports;
pub mod probe;
pub mod pulse;
mod race;
pub mod rate;
mod reach;
pub mod refusal;
mod relay;
pub mod reload;
pub mod self_check;
pub mod settings;
pub mod socket;
pub mod system;
pub mod verdict;
pub mod virtual_ip;
