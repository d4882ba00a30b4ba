//! `mailnode switch`: says what it will do, how far it is, and what it took.
//! It does not know how rows move; the store does.

use std::io::{IsTerminal, Write, stdout};
use std::path::Path;
use std::time::{Duration, Instant};

use super::CommandError;
use crate::config::StoreConfig;
use crate::store::{DatabaseUrl, DatabaseUrls, Plan, Progress, Target, plan, switch};

/// Between two lines where there is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(2);
/// Between two pictures of the bar on a terminal.
const BAR_INTERVAL: Duration = Duration::from_millis(100);
const BAR_WIDTH: u64 = 30;

pub(super) async fn switch_to(
    file: &Path,
    to: &[String],
    dry_run: bool,
) -> Result<(), CommandError> {
    let begun = Instant::now();
    let config = StoreConfig::read(file)?;
    let urls = to.iter().map(|text| {
        let forms = DatabaseUrl::FORMS;
        DatabaseUrl::parse(text)
            .ok_or_else(|| CommandError::Failed(format!("--to: it is no address: {forms}")))
    });
    let urls = DatabaseUrls::new(urls.collect::<Result<_, _>>()?)
        .map_err(|what| CommandError::Failed(format!("--to: {what}")))?;
    let plan = plan(&config.database, &urls).await?;
    show(&plan);
    if dry_run || plan.target.is_none() {
        return Ok(());
    }
    let mut sight = Sight::new();
    let switched = switch(&plan, &mut |progress| sight.show(progress)).await;
    sight.end();
    let switched = switched?;
    println!(
        "{} rows are there and the same; {} logins looked up in both are the same",
        switched.rows, switched.logins
    );
    println!(
        "{} is in force on all nodes within 2 s; {:.1} s in all, writes held up for {:.1} s",
        plan.to,
        begun.elapsed().as_secs_f64(),
        switched.frozen.as_secs_f64()
    );
    println!("change `database` in the nodes' files: until then they follow a row in the old one");
    Ok(())
}

fn show(plan: &Plan) {
    let Some(target) = plan.target else {
        println!("{} is in force already: there is nothing to do", plan.to);
        return;
    };
    println!("from {}\nto   {}", plan.from, plan.to);
    match target {
        Target::Empty => println!("which is empty"),
        Target::Stale => {
            println!("which this cluster left, or had begun to copy to: it is emptied")
        }
    }
    for (table, rows) in plan.tables.iter().filter(|(_, rows)| *rows > 0) {
        println!("{rows:>12} rows of {table}");
    }
    let seconds = plan.estimate().as_secs();
    println!("{:>12} rows in all, about {seconds} s; files do not move", plan.rows());
}

/// How far it is, as a bar on a terminal, as lines elsewhere.
struct Sight {
    terminal: bool,
    begun: Instant,
    shown: Instant,
}

impl Sight {
    fn new() -> Self {
        let now = Instant::now();
        Self { terminal: stdout().is_terminal(), begun: now, shown: now }
    }

    fn show(&mut self, progress: Progress) {
        let interval = if self.terminal { BAR_INTERVAL } else { LINE_INTERVAL };
        if self.shown.elapsed() < interval {
            return;
        }
        self.shown = Instant::now();
        let Progress { doing, done, of } = progress;
        let seconds = self.begun.elapsed().as_secs_f64();
        if !self.terminal {
            println!("{seconds:.0} s: {doing}, {done} of {of} rows");
            return;
        }
        let full = done.min(of) * BAR_WIDTH / of.max(1);
        let bar: String = (0..BAR_WIDTH).map(|at| if at < full { '#' } else { '.' }).collect();
        print!("\r{doing:<10} [{bar}] {done} of {of} rows, {seconds:.0} s ");
        drop(stdout().flush());
    }

    fn end(&self) {
        if self.terminal {
            println!();
        }
    }
}
