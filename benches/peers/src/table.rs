//! Medians, and rows of figures.

/// The value in the middle. Of noisy times it is the least bad single figure.
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

pub fn print(title: &str, columns: &[&str], rows: &[(String, Vec<String>)]) {
    println!("\n{title}\n");
    print!("{:<34}", "");
    for column in columns {
        print!("{column:>16}");
    }
    println!();
    for (name, cells) in rows {
        print!("{name:<34}");
        for cell in cells {
            print!("{cell:>16}");
        }
        println!();
    }
}
