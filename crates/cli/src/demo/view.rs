//! The live view on a terminal: the loop's stages, the devices, and what happened. It only reads; `q` or Ctrl-C ends it.

use std::io;
use std::time::Duration;

use ratatui::Frame;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Modifier, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Paragraph, Row, Table, Wrap};

use super::board::{Shown, Stage};
use super::story::Story;
use super::traffic::Log;
use crate::supervisor::Seen;

/// Between two frames.
pub(crate) const FRAME: Duration = Duration::from_millis(150);
/// Seconds that one bar of the sparkline stands for.
const BAR: Duration = Duration::from_secs(2);
/// Bars of the sparkline.
const BARS: usize = 30;
/// What the lowest bar stands for; anything below looks the same.
const ACCURACY_LOWEST: f64 = 0.5;
const BAR_GLYPHS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// One device's line.
#[derive(Clone, Debug, Default, PartialEq)]
struct DeviceLine {
    name: String,
    pid: Option<u32>,
    restarts: u32,
    version: String,
    phase: String,
    requests: u64,
    failed: u64,
    /// Accuracy over the last bar that has answers.
    accuracy: Option<f64>,
    sparkline: String,
}

/// Draws until a key or a signal ends it, or `over` says there is nothing left to show.
pub(crate) fn show(story: &Story<'_>, over: impl Fn() -> bool) -> io::Result<()> {
    let mut terminal = ratatui::try_init()?;
    let result = (|| {
        while !story.stop.is_raised() && !over() {
            let shown = story.board.shown();
            let devices = device_lines(story);
            terminal.draw(|frame| draw(frame, &shown, &devices))?;
            if event::poll(FRAME)? && is_end(&event::read()?) {
                story.stop.raise();
            }
        }
        Ok(())
    })();
    ratatui::restore();
    result
}

fn is_end(event: &Event) -> bool {
    let Event::Key(KeyEvent { code, modifiers, kind: KeyEventKind::Press, .. }) = event else { return false };
    let ctrl_c = *code == KeyCode::Char('c') && modifiers.contains(KeyModifiers::CONTROL);
    ctrl_c || *code == KeyCode::Char('q')
}

fn device_lines(story: &Story<'_>) -> Vec<DeviceLine> {
    let processes = story.supervisor.seen();
    let log = story.traffic.log();
    let elapsed = story.traffic.elapsed();
    let phases = story.phases();
    let line = |(device, name): (usize, &String)| {
        let process = processes.iter().find(|seen: &&Seen| seen.name == *name);
        let bars = accuracy_bars(&log, device, elapsed);
        DeviceLine {
            name: name.clone(),
            pid: process.and_then(|seen| seen.pid),
            restarts: process.map_or(0, |seen| seen.restarts),
            version: log.serving()[device].map_or_else(|| "-".to_owned(), |v| v.chars().take(12).collect()),
            phase: phases.get(name).cloned().unwrap_or_else(|| "-".to_owned()),
            requests: log.counts[device].requests,
            failed: log.counts[device].failed,
            accuracy: bars.iter().rev().flatten().copied().next(),
            sparkline: sparkline(&bars),
        }
    };
    story.devices.iter().enumerate().map(line).collect()
}

/// Share of right answers of one device in each of the last [`BARS`] spans; none where nothing was answered.
fn accuracy_bars(log: &Log, device: usize, elapsed: Duration) -> Vec<Option<f64>> {
    let mut counts = [(0_u32, 0_u32); BARS];
    let span = |at: Duration| at.as_millis() / BAR.as_millis();
    for answer in log.answers.iter().rev().take_while(|answer| span(answer.at) + BARS as u128 > span(elapsed))
    {
        let back = usize::try_from(span(elapsed).saturating_sub(span(answer.at))).unwrap_or(BARS);
        if let Some((right, all)) =
            counts.get_mut(BARS.wrapping_sub(1 + back)).filter(|_| answer.device == device)
        {
            *right += u32::from(answer.is_correct);
            *all += 1;
        }
    }
    counts.iter().map(|(right, all)| (*all > 0).then(|| f64::from(*right) / f64::from(*all))).collect()
}

fn sparkline(bars: &[Option<f64>]) -> String {
    let glyph = |bar: &Option<f64>| match bar {
        None => ' ',
        Some(share) => {
            let height = (share - ACCURACY_LOWEST) / (1.0 - ACCURACY_LOWEST) * (BAR_GLYPHS.len() - 1) as f64;
            BAR_GLYPHS[(height.round().max(0.0) as usize).min(BAR_GLYPHS.len() - 1)]
        }
    };
    bars.iter().map(glyph).collect()
}

fn draw(frame: &mut Frame<'_>, shown: &Shown, devices: &[DeviceLine]) {
    let fleet_height = u16::try_from(devices.len()).unwrap_or(u16::MAX).saturating_add(3);
    let areas = Layout::vertical([
        Constraint::Length(4),
        Constraint::Max(fleet_height),
        Constraint::Min(5),
        Constraint::Length(1),
    ])
    .split(frame.area());
    frame.render_widget(loop_panel(shown), areas[0]);
    frame.render_widget(fleet_panel(devices), areas[1]);
    let rows = usize::from(areas[2].height.saturating_sub(2));
    frame.render_widget(timeline_panel(shown, rows), areas[2]);
    let footer = shown.ending.as_deref().unwrap_or("q ends the demo");
    frame
        .render_widget(Paragraph::new(footer).style(Style::new().add_modifier(Modifier::REVERSED)), areas[3]);
}

fn loop_panel(shown: &Shown) -> Paragraph<'_> {
    let span = |stage: Stage| match stage.cmp(&shown.stage) {
        std::cmp::Ordering::Less => Span::from(stage.title()).fg(Color::Green),
        std::cmp::Ordering::Equal => Span::from(format!("[{}]", stage.title())).fg(Color::Yellow).bold(),
        std::cmp::Ordering::Greater => Span::from(stage.title()).fg(Color::DarkGray),
    };
    let mut spans = Vec::new();
    for stage in Stage::ALL {
        if !spans.is_empty() {
            spans.push(Span::from(" > ").fg(Color::DarkGray));
        }
        spans.push(span(stage));
    }
    let dashboard = Line::from(format!("dashboard {}", shown.dashboard));
    Paragraph::new(vec![Line::from(spans), dashboard])
        .block(Block::bordered().title(" edgeward demo: robots "))
}

fn fleet_panel(devices: &[DeviceLine]) -> Table<'_> {
    let header = ["device", "pid", "restarts", "model", "phase", "requests", "failed", "accuracy", "", ""];
    let rows = devices.iter().map(|device| {
        let cells = [
            device.name.clone(),
            device.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string()),
            device.restarts.to_string(),
            device.version.clone(),
            device.phase.clone(),
            device.requests.to_string(),
            device.failed.to_string(),
            device.accuracy.map_or_else(|| "-".to_owned(), |share| format!("{share:.2}")),
            device.sparkline.clone(),
        ];
        Row::new(cells)
    });
    let widths = [10, 8, 8, 12, 10, 9, 7, 8, BARS as u16].map(Constraint::Length);
    Table::new(rows, widths).header(Row::new(header).bold()).block(Block::bordered().title(" fleet "))
}

fn timeline_panel(shown: &Shown, rows: usize) -> Paragraph<'_> {
    let skipped = shown.lines.len().saturating_sub(rows);
    let lines: Vec<Line<'_>> = shown
        .lines
        .iter()
        .skip(skipped)
        .map(|line| {
            let at = Span::from(format!("{:6.1} s  ", line.at.as_secs_f64())).fg(Color::DarkGray);
            let style = if line.text.starts_with("== ") { Style::new().bold() } else { Style::new() };
            Line::from(vec![at, Span::styled(line.text.as_str(), style)])
        })
        .collect();
    Paragraph::new(lines).wrap(Wrap { trim: false }).block(Block::bordered().title(" what happened "))
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;
    use crate::demo::board::{Board, Mode};
    use crate::demo::traffic::{Answer, Count, Pool};

    fn answer(device: usize, at_s: u64, is_correct: bool) -> Answer {
        Answer {
            device,
            at: Duration::from_secs(at_s),
            version: 0,
            pool: Pool::Field,
            after_arrival: false,
            is_new: false,
            is_correct,
        }
    }

    #[test]
    fn bars_are_accuracies_of_the_last_spans() {
        let log = Log {
            answers: vec![answer(0, 6, true), answer(1, 6, false), answer(0, 9, false), answer(0, 9, true)],
            counts: vec![Count::default(); 2],
            versions: vec!["v".into()],
            problems: Vec::new(),
        };
        let bars = accuracy_bars(&log, 0, Duration::from_secs(10));
        assert_eq!(bars[BARS - 3..], [Some(1.0), Some(0.5), None]);
        assert_eq!(sparkline(&bars[BARS - 3..]), "█▁ ");
        assert_eq!(bars[..BARS - 3].iter().flatten().count(), 0);
    }

    #[test]
    fn the_view_shows_stages_devices_and_timeline() {
        let board = Board::new(Mode::View);
        board.set_dashboard("http://127.0.0.1:7700");
        board.enter(Stage::Alert, "the devices noticed");
        let device = DeviceLine { name: "robot-1".into(), requests: 42, ..DeviceLine::default() };
        let mut terminal = Terminal::new(TestBackend::new(120, 20)).unwrap();
        terminal.draw(|frame| draw(frame, &board.shown(), &[device])).unwrap();
        let text = terminal.backend().to_string();
        for expected in ["[alert]", "robot-1", "42", "the devices noticed", "http://127.0.0.1:7700", "q ends"]
        {
            assert!(text.contains(expected), "{expected} is missing in\n{text}");
        }
    }

    #[test]
    fn a_small_terminal_is_no_trouble() {
        let board = Board::new(Mode::View);
        let mut terminal = Terminal::new(TestBackend::new(10, 3)).unwrap();
        terminal.draw(|frame| draw(frame, &board.shown(), &[DeviceLine::default()])).unwrap();
    }

    #[test]
    fn q_and_ctrl_c_end_it() {
        let key = |code, modifiers| Event::Key(KeyEvent::new(code, modifiers));
        assert!(is_end(&key(KeyCode::Char('q'), KeyModifiers::NONE)));
        assert!(is_end(&key(KeyCode::Char('c'), KeyModifiers::CONTROL)));
        assert!(!is_end(&key(KeyCode::Char('c'), KeyModifiers::NONE)));
    }
}
