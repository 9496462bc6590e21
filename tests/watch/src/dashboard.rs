//! The dashboard that ships: its queries, and what every panel must have.

use std::collections::BTreeSet;

use gateway::envoy;
use serde_json::Value;

use crate::Fallible;

/// A query of a panel, or of a variable.
#[derive(Debug)]
pub struct Query {
    /// Whose it is.
    pub place: String,
    /// The query, with the dashboard's variables.
    pub expr: String,
    /// How its lines are named.
    pub legend: String,
}

/// The dashboard.
pub struct Dashboard(Value);

impl Dashboard {
    /// Reads the file.
    ///
    /// # Errors
    /// If it is no JSON.
    pub fn read() -> Fallible<Self> {
        let text = std::fs::read_to_string(envoy::root().join("envoy/grafana/mcp-session-filter.json"))?;
        Ok(Self(serde_json::from_str(&text)?))
    }

    fn panels(&self) -> impl Iterator<Item = &Value> {
        self.0["panels"].as_array().into_iter().flatten()
    }

    /// Every query, those of the variables included.
    pub fn queries(&self) -> Vec<Query> {
        let of_panel = |panel: &Value| {
            let targets = panel["targets"].as_array().cloned().unwrap_or_default();
            let place = text(&panel["title"]);
            targets.into_iter().map(move |target| Query {
                place: place.clone(),
                expr: text(&target["expr"]),
                legend: text(&target["legendFormat"]),
            })
        };
        let variables = self.0["templating"]["list"].as_array().into_iter().flatten();
        let of_variables = variables.filter_map(|variable| {
            let (series, label) = values_of(variable["query"]["query"].as_str()?)?;
            Some(Query {
                place: format!("the variable {}", text(&variable["name"])),
                expr: format!("group by ({label}) ({series})"),
                legend: format!("{{{{{label}}}}}"),
            })
        });
        self.panels().flat_map(of_panel).chain(of_variables).collect()
    }

    /// What is wrong with it: a panel without a description, a unit, a legend or the data source's variable; two panels
    /// with one id, or over each other.
    pub fn mistakes(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        let (mut ids, mut cells) = (BTreeSet::new(), BTreeSet::new());
        for panel in self.panels() {
            let title = text(&panel["title"]);
            if title.is_empty() || !ids.insert(panel["id"].as_u64()) {
                mistakes.push(format!("{title}: needs a title, and an id of its own"));
            }
            if !covered(&panel["gridPos"]).all(|cell| cell.1 < 24 && cells.insert(cell)) {
                mistakes.push(format!("{title}: lies over another panel, or beyond the edge"));
            }
            if panel["type"] != "row" {
                mistakes.extend(incomplete(panel).map(|what| format!("{title}: {what}")));
            }
        }
        mistakes
    }
}

/// What a panel with queries lacks.
fn incomplete(panel: &Value) -> impl Iterator<Item = &'static str> {
    let source = |at: &Value| at["datasource"]["uid"] == "${datasource}";
    let targets = panel["targets"].as_array().cloned().unwrap_or_default();
    let legends = targets
        .iter()
        .all(|target| !text(&target["legendFormat"]).is_empty());
    [
        (text(&panel["description"]).ends_with('.'), "needs a description"),
        (
            !text(&panel["fieldConfig"]["defaults"]["unit"]).is_empty(),
            "needs a unit",
        ),
        (!targets.is_empty() && legends, "needs a legend for each query"),
        (
            source(panel) && targets.iter().all(source),
            "must use ${datasource}",
        ),
    ]
    .into_iter()
    .filter_map(|(is_there, what)| (!is_there).then_some(what))
}

/// Row and column of each cell of Grafana's grid of 24 columns.
fn covered(position: &Value) -> impl Iterator<Item = (u64, u64)> + use<> {
    let of = |name: &str| position[name].as_u64().unwrap_or_default();
    let (left, top, width, height) = (of("x"), of("y"), of("w"), of("h"));
    (top..top + height).flat_map(move |row| (left..left + width).map(move |column| (row, column)))
}

/// Series and label of `label_values(series, label)`.
fn values_of(query: &str) -> Option<(&str, &str)> {
    let inside = query.strip_prefix("label_values(")?.strip_suffix(')')?;
    inside.rsplit_once(", ")
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_panel_is_whole_and_has_its_place() {
        let dashboard = Dashboard::read().expect("the file is read");
        assert_eq!(dashboard.mistakes(), Vec::<String>::new());
        assert!(dashboard.queries().len() > 40);
    }
}
