//! Replays one column of a CSV file: `backtest FILE COLUMN REFERENCE_ROWS ARL`. Prints one line per alarm.

use edgeward_monitor::{BacktestConfig, backtest};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file, column, reference_rows, arl] = arguments.as_slice() else {
        return Err("usage: backtest FILE COLUMN REFERENCE_ROWS ARL".into());
    };
    let text = std::fs::read_to_string(file)?;
    let mut lines = text.lines();
    let header = lines.next().ok_or("the file is empty")?;
    let at = header.split(',').position(|name| name == column).ok_or("no such column")?;
    let cells: Vec<Vec<&str>> = lines.map(|line| line.split(',').collect()).collect();
    let value = |cells: &Vec<&str>| cells.get(at).and_then(|cell| cell.parse().ok()).unwrap_or(f32::NAN);
    let history: Vec<f32> = cells.iter().map(value).collect();
    let config = BacktestConfig::new(reference_rows.parse()?, arl.parse()?);
    let found = backtest(std::slice::from_ref(column), &history, &config)?;
    for alarm in &found.alarms {
        let row = alarm.index as usize;
        println!("{row} {} {:?}: {}", cells[row].join(","), alarm.kind, alarm.message);
    }
    println!("{} rows, {} alarms, {:?}", found.samples, found.alarms.len(), found.verifications);
    Ok(())
}
