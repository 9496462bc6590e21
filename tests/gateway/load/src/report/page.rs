//! The page.

use std::fmt::Write;

use super::{bars, escaped, lines, size, verdict};
use crate::experiments::NAMES;
use crate::results::{Chart, Machine, Results, Run, Shape};

const STYLE: &str = include_str!("page.css");

/// One page of HTML with everything in it.
pub fn page(results: &Results) -> String {
    let runs: Vec<&Run> = NAMES.iter().flat_map(|name| results.of(name)).collect();
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>mcp-session-filter under load</title>\
         <style>{STYLE}</style>\n<main><h1>mcp-session-filter under load</h1>\n"
    );
    html.push_str(&summary(&runs));
    for run in &runs {
        html.push_str(&section(run));
    }
    html.push_str("</main></html>\n");
    html
}

/// How many targets are met, and where all that was measured.
fn summary(runs: &[&Run]) -> String {
    let counting = runs.iter().filter(|run| run.counts());
    let claims = counting.flat_map(|run| &run.outcome.claims);
    let (met, all) = (claims.clone().filter(|claim| claim.met).count(), claims.count());
    let mut html = match all {
        0 => "<p class=\"lead\">A quick look at whether everything works. No figure counts.</p>\n".to_owned(),
        _ => format!("<p class=\"lead\">{met} of {all} targets met.</p>\n"),
    };
    for machine in machines(runs) {
        // Writing to a string does not fail.
        let _ = writeln!(
            html,
            "<p class=\"machine\">{} · {} cores · {} MiB · Linux {} · Envoy {} · {} open files</p>",
            escaped(&machine.processor),
            machine.cores,
            crate::grouped(machine.memory_mib),
            escaped(&machine.kernel),
            escaped(&machine.envoy),
            crate::grouped(machine.open_files),
        );
    }
    html.push_str(
        "<p class=\"machine\">Load and server run on one thread of the same machine, over loopback and HTTP/1.1. \
         Envoy has one worker and the configuration that ships, without the access log.</p>\n",
    );
    html
}

/// The machines that the runs were on, each once.
fn machines<'a>(runs: &[&'a Run]) -> Vec<&'a Machine> {
    let mut machines: Vec<&Machine> = Vec::new();
    for run in runs {
        if !machines.iter().any(|machine| machine.is_the_same(&run.machine)) {
            machines.push(&run.machine);
        }
    }
    machines
}

fn section(run: &Run) -> String {
    let outcome = &run.outcome;
    let mut html = format!(
        "<section><h2>{}</h2><p class=\"run\">{} · took {:.0} s · {} · module {}</p>\n",
        escaped(&outcome.title),
        escaped(&run.date),
        run.seconds,
        size(run),
        escaped(&run.machine.module)
    );
    html.push_str(&claims(run));
    for chart in &outcome.charts {
        html.push_str(&figure(chart));
    }
    html.push_str("</section>\n");
    html
}

fn claims(run: &Run) -> String {
    let claims = &run.outcome.claims;
    let compared = claims.iter().any(|claim| !claim.original.is_empty());
    let heading = if compared {
        "<th class=\"theirs\">theirs</th>"
    } else {
        ""
    };
    let mut html = format!(
        "<table><tr><th class=\"mark\"></th><th>what</th><th class=\"target\">target</th>\
         <th class=\"figure\">measured</th>{heading}</tr>\n"
    );
    for claim in claims {
        let verdict = verdict(run, claim);
        let original = match compared {
            true => format!("<td class=\"theirs\">{}</td>", escaped(&claim.original)),
            false => String::new(),
        };
        let _ = writeln!(
            html,
            "<tr><td class=\"{verdict}\">{verdict}</td><td>{}</td><td class=\"target\">{}</td><td>{}</td>{original}</tr>",
            escaped(&claim.what),
            escaped(&claim.target),
            escaped(&claim.figure)
        );
    }
    html.push_str("</table>\n");
    html
}

fn figure(chart: &Chart) -> String {
    let svg = match &chart.shape {
        Shape::Bars(bars) => bars::svg(chart, bars),
        Shape::Lines(lines) => lines::svg(chart, lines),
    };
    format!(
        "<figure><figcaption><strong>{}</strong><span>{}</span></figcaption>{svg}</figure>\n",
        escaped(&chart.title),
        escaped(&chart.note)
    )
}
