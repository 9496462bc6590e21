//! Queries: what stands for a dashboard's variables, and which series a query reads.

/// Puts values in the place of the dashboard's variables, as Grafana does. The windows are short, as the scrapes are.
pub fn substituted(query: &str) -> String {
    query
        .replace("$__rate_interval", "15s")
        .replace("$__range", "120s")
        .replace("$instance", ".*")
        .replace("$endpoint", ".*")
}

/// The series that a query reads: `name` or `name{…}`, without their windows.
pub fn selectors(query: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = query;
    while let Some(start) = rest.find(|letter: char| letter.is_ascii_alphabetic()) {
        rest = &rest[start..];
        let end = rest.find(|letter: char| !(letter.is_ascii_alphanumeric() || "_:".contains(letter)));
        let (word, after) = rest.split_at(end.unwrap_or(rest.len()));
        let is_series = word.starts_with("mcp_sessions_") || word.starts_with("envoy_") || word.contains(':');
        let labels = match after.strip_prefix('{') {
            Some(labels) if is_series => labels.find('}').map_or(0, |end| end + 2),
            _ => 0,
        };
        if is_series {
            found.push(&rest[..word.len() + labels]);
        }
        rest = quoted_left_out(&after[labels..]);
    }
    found
}

/// The rest behind a text in quotes, if the query goes on with one before the next word.
fn quoted_left_out(rest: &str) -> &str {
    let word = rest
        .find(|letter: char| letter.is_ascii_alphabetic())
        .unwrap_or(rest.len());
    match rest.find('"') {
        Some(quote) if quote < word => {
            let inside = &rest[quote + 1..];
            inside
                .find('"')
                .map_or("", |end| quoted_left_out(&inside[end + 1..]))
        }
        _ => rest,
    }
}

/// The labels that a legend names: `{{mcp_endpoint}} on {{instance}}`.
pub fn labels(legend: &str) -> Vec<&str> {
    let parts = legend.split("{{").skip(1);
    parts.filter_map(|part| Some(part.split_once("}}")?.0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_each_series_with_its_labels_and_without_its_window() {
        let query = "sum without (mcp_reason) (increase(mcp_sessions_ended{mcp_reason=~\"idle|lifetime\"}[1h])) / vm:used:ratio > 0";
        assert_eq!(
            selectors(query),
            [
                "mcp_sessions_ended{mcp_reason=~\"idle|lifetime\"}",
                "vm:used:ratio"
            ]
        );
        assert_eq!(
            selectors(
                "label_replace(mcp_sessions_duration_bucket, \"le\", \"mcp_sessions_x\", \"le\", \"a:b\")"
            ),
            ["mcp_sessions_duration_bucket"]
        );
    }

    #[test]
    fn puts_values_in_the_place_of_variables() {
        let query =
            "rate(a{instance=~\"$instance\", mcp_endpoint=~\"$endpoint\"}[$__rate_interval]) + b[$__range]";
        assert_eq!(
            substituted(query),
            "rate(a{instance=~\".*\", mcp_endpoint=~\".*\"}[15s]) + b[120s]"
        );
    }

    #[test]
    fn finds_the_labels_of_a_legend() {
        assert_eq!(
            labels("cap of {{mcp_endpoint}} on {{instance}}"),
            ["mcp_endpoint", "instance"]
        );
    }
}
