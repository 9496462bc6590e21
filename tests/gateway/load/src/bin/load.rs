//! The load generator by itself, against any gateway, and a server to put behind one.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use load::modes::{self, Ending, Lifecycles, Load, Ramp, Steady};
use load::options::Options;
use load::{Fallible, Server, SessionIds, Target, limits};

const USAGE: &str = "\
usage: load <mode> [--gateway 127.0.0.1:10000] [--path /mcp] [--json] [options]

  lifecycles  --count 10000 --workers 50 --calls 2 --idle 0 [--abandon]
  ramp        --sessions 8192 --pace 200 --every 5 --hold 10 --connections 64 --steps 8
  steady      --rate 1000 --seconds 60 --sessions 1000 --connections 256
  burst       --clients 1000
  fill        --sessions 10000 --connections 64
  fixed       --requests 100000 --sessions 100 --connections 16
  aborts      --clients 1000 --after 0.2
  serve       --port 8000 [--forget]      a server; its counts at /counts

One line with what it came to, or with --json one JSON object. Fails if a request failed.";

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let mut options = Options::new(std::env::args().skip(1));
    let Some(mode) = options.word() else {
        eprintln!("{USAGE}");
        return ExitCode::FAILURE;
    };
    limits::raise_open_files();
    let played = tokio::task::LocalSet::new().run_until(play(&mode, options)).await;
    match played {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}\n\n{USAGE}");
            ExitCode::FAILURE
        }
    }
}

/// Plays a mode. Returns whether no request failed.
async fn play(mode: &str, mut options: Options) -> Fallible<bool> {
    if mode == "serve" {
        return serve(options).await;
    }
    let address = options.value("--gateway", SocketAddr::from(([127, 0, 0, 1], 10000)))?;
    let path = options.value("--path", "/mcp".to_owned())?;
    let json = options.flag("--json");
    let load = Load::on(&Rc::new(Target::new(address, &path)));
    let load = match mode {
        "lifecycles" => lifecycles(load, options).await?,
        "ramp" => ramp(load, options).await?,
        "steady" => steady(load, options).await?,
        "burst" => burst(load, options).await?,
        "fill" => fill(load, options).await?,
        "fixed" => fixed(load, options).await?,
        "aborts" => aborts(load, options).await?,
        _ => return Err(format!("unknown mode: {mode}").into()),
    };
    let figures = load.figures();
    match json {
        true => println!("{}", serde_json::to_string(&figures)?),
        false => println!("{figures}"),
    }
    Ok(figures.failed == 0)
}

async fn serve(mut options: Options) -> Fallible<bool> {
    let server = Server::start(options.value("--port", 8000)?, !options.flag("--forget"))?;
    options.end()?;
    println!(
        "http://{0}/mcp, its counts at http://{0}/counts",
        server.address()
    );
    tokio::signal::ctrl_c().await?;
    println!("{}", serde_json::to_string(&server.counts())?);
    Ok(true)
}

async fn lifecycles(load: Load, mut options: Options) -> Fallible<Load> {
    let lifecycles = Lifecycles {
        count: options.value("--count", 10_000)?,
        workers: options.value("--workers", 50)?,
        calls: options.value("--calls", 2)?,
        idle: options.seconds("--idle", 0.0)?,
        ending: match options.flag("--abandon") {
            true => Ending::Abandon,
            false => Ending::Delete,
        },
    };
    options.end()?;
    lifecycles.run(&load).await;
    Ok(load)
}

async fn ramp(load: Load, mut options: Options) -> Fallible<Load> {
    let ramp = Ramp {
        sessions: options.value("--sessions", 8192)?,
        pace: options.value("--pace", 200.0)?,
        call_every: options.seconds("--every", 5.0)?.max(Duration::from_millis(1)),
        hold: options.seconds("--hold", 10.0)?,
        connections: options.value("--connections", 64)?,
        steps: options.value("--steps", 8)?,
    };
    options.end()?;
    for step in ramp.run(&load).await {
        println!("{}", serde_json::to_string(&step)?);
    }
    Ok(load)
}

async fn steady(load: Load, mut options: Options) -> Fallible<Load> {
    let steady = Steady {
        rate: options.value("--rate", 1000.0)?,
        duration: options.seconds("--seconds", 60.0)?,
        connections: options.value("--connections", 256)?,
    };
    let sessions = options.value("--sessions", 1000)?;
    options.end()?;
    let ids = opened(&load, sessions, 16).await?;
    // What follows is recorded by itself.
    let load = Load::on(&load.target);
    steady.run(&load, &ids).await;
    Ok(load)
}

async fn burst(load: Load, mut options: Options) -> Fallible<Load> {
    let clients = options.value("--clients", 1000)?;
    options.end()?;
    modes::burst(&load, clients).await;
    Ok(load)
}

async fn fill(load: Load, mut options: Options) -> Fallible<Load> {
    let sessions = options.value("--sessions", 10_000)?;
    let connections = options.value("--connections", 64)?;
    options.end()?;
    opened(&load, sessions, connections).await?;
    Ok(load)
}

async fn fixed(load: Load, mut options: Options) -> Fallible<Load> {
    let requests = options.value("--requests", 100_000)?;
    let sessions = options.value("--sessions", 100)?;
    let connections = options.value("--connections", 16)?;
    options.end()?;
    let ids = opened(&load, sessions, connections).await?;
    let load = Load::on(&load.target);
    modes::fixed(&load, requests, connections, &ids).await;
    Ok(load)
}

async fn aborts(load: Load, mut options: Options) -> Fallible<Load> {
    let clients = options.value("--clients", 1000)?;
    let after = options.seconds("--after", 0.2)?;
    options.end()?;
    modes::abort(&load, clients, after).await;
    Ok(load)
}

async fn opened(load: &Load, sessions: u64, connections: usize) -> Fallible<Rc<SessionIds>> {
    let ids = modes::fill(load, sessions, connections, SessionIds::default()).await;
    match ids.is_empty() {
        true => Err(format!("no session could be opened: {}", load.figures()).into()),
        false => Ok(Rc::new(ids)),
    }
}
