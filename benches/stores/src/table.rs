//! Medians, and tables as the guide has them.

pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

pub fn print(title: &str, columns: &[String], rows: &[(String, Vec<String>)]) {
    println!("\n## {title}\n");
    println!("| | {} |", columns.join(" | "));
    println!("|---|{}", "---|".repeat(columns.len()));
    for (name, cells) in rows {
        println!("| {name} | {} |", cells.join(" | "));
    }
}

/// How often each word was said, the most frequent first.
pub fn tally(words: &[String]) -> String {
    let mut counts: Vec<(usize, &String)> = Vec::new();
    for word in words {
        match counts.iter_mut().find(|(_, known)| *known == word) {
            Some((count, _)) => *count += 1,
            None => counts.push((1, word)),
        }
    }
    counts.sort_by(|a, b| b.cmp(a));
    counts
        .iter()
        .map(|(count, word)| format!("{count} {word}"))
        .collect::<Vec<_>>()
        .join(", ")
}
