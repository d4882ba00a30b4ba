//! `balancer`: what the command line says is done, and the exit code says how it went.
//! It does not know how anything is done: `commands` does.

fn main() -> std::process::ExitCode {
    balancer::commands::main()
}
