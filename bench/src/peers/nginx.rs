//! nginx with its stream module: two workers, least connections, passive checks (it has no other).
//!
//! It does not know what stands behind. Called by `scenario::proxy`.

use std::fmt::Write;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use super::Peer;
use crate::process::{Sign, Step, doing, free_address};

/// How it is set, for the line of a figure.
pub(crate) const SETTINGS: &str =
    "worker_processes-2,least_conn,passive-checks,no-PROXY-header,no-log";

/// Starts nginx before the nodes.
pub(crate) async fn start(dir: &Path, nodes: &[SocketAddr]) -> Step<Peer> {
    let address = free_address()?;
    let config = dir.join("nginx.conf");
    doing(config.display(), fs::write(&config, text(dir, address, nodes)))?;
    let mut program = Command::new("/usr/sbin/nginx");
    program.arg("-e").arg(dir.join("error.log")).arg("-c").arg(&config);
    Peer::start("nginx", dir, &program, address, Sign::Greeting(address)).await
}

fn text(dir: &Path, address: SocketAddr, nodes: &[SocketAddr]) -> String {
    let dir = dir.display();
    let mut text = format!(
        "daemon off;\nworker_processes 2;\nworker_rlimit_nofile 20000;\npid {dir}/nginx.pid;\n\
         error_log {dir}/error.log;\nload_module /usr/lib/nginx/modules/ngx_stream_module.so;\n\
         events {{ worker_connections 19900; }}\nstream {{\n  upstream nodes {{\n    least_conn;\n"
    );
    for node in nodes {
        let _ = writeln!(text, "    server {node} max_fails=1 fail_timeout=1s;");
    }
    let _ = write!(
        text,
        "  }}\n  server {{\n    listen {address};\n    proxy_pass nodes;\n\
         \x20   proxy_connect_timeout 1s;\n    proxy_timeout 5m;\n  }}\n}}\n"
    );
    text
}
