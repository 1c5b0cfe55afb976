//! The view, of what a daemon tells: its lines in, a terminal's cells out.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Read as _;
use std::process::Command;
use std::thread;

use nix::pty::{OpenptyResult, Winsize, openpty};
use nix::sys::termios::tcgetattr;
use ratatui::buffer::Buffer;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::layout::Rect;
use serde_json::{Value, json};

use super::*;
use crate::proto::FlowKind;
use crate::top::model::Key;
use crate::top::view::{LOSS_SPAN_NS, Screen, Sort};

const SECOND_NS: i64 = 1_000_000_000;
/// 2026-01-12 11:58:57 UTC.
const BEGIN_NS: i64 = 1_768_219_137 * SECOND_NS;

/// Bins of the daemon: two an octave from a microsecond.
fn edges() -> Vec<u64> {
    (0..48_u32)
        .map(|bin| match bin {
            0 => 0,
            bin if bin % 2 == 1 => 1_000 << ((bin - 1) / 2),
            bin => (1_000 << ((bin - 1) / 2)) * 1_414_214 / 1_000_000,
        })
        .collect()
}

fn pairs() -> Value {
    json!([
        {"pair": 0, "source": "fra1", "target": "nyc1", "tags": ["isp:x", "class:gold"]},
        {"pair": 1, "source": "fra1", "target": "tokyo \u{65e5}\u{672c}", "tags": []},
        {"pair": 2, "source": "evil\u{202e}\u{1b}[2J", "target": "fra1", "tags": ["\u{9b}x"]},
    ])
}

/// The columns of an interval: nyc1 over UDP and TCP, Tokyo's connects, and what a stranger sends here.
fn rows(interval: i64) -> Value {
    let is_bad = interval == 4;
    let peak = if is_bad { 16_000_000 } else { 120_000 };
    json!({
        "pair": [0, 0, 1, 2],
        "flow": ["udp", "tcp", "connect", "udp"],
        "sent": [1000, 1000, 10, null],
        "lost": [if is_bad { 7 } else { 0 }, 0, 1, null],
        "lost_forward": [if is_bad { 5 } else { 0 }, 0, null, null],
        "lost_reverse": [if is_bad { 2 } else { 0 }, 0, null, null],
        "unsent": [0, 0, 0, null],
        "reordered": [if is_bad { 3 } else { 0 }, 0, null, null],
        "rtt_p50_ns": [82_300_000 + interval, 82_500_000, 171_000_000, null],
        "rtt_p99_ns": [82_400_000 + peak, 83_000_000, 171_400_000, null],
        "rtt_max_ns": [82_500_000 + peak, 99_000_000, 172_000_000, null],
        "forward_p50_ns": [21_000, 31_000, null, null],
        "forward_p99_ns": [peak, 230_000, null, null],
        "forward_max_ns": [peak + 500_000, 1_230_000, null, null],
        "reverse_p50_ns": [19_000, 29_000, null, null],
        "reverse_p99_ns": [88_000, 190_000, null, null],
        "reverse_max_ns": [140_000, 890_000, null, null],
        "owd_p50_ns": [null, null, null, -45_600_000],
        "owd_p99_ns": [null, null, null, -44_000_000],
        "rtt_heat": [[33, 990, 34, 10], [33, 1000], [36, 9], null],
        "forward_heat": [if is_bad { json!([9, 600, 15, 300, 28, 100]) } else { json!([9, 600, 10, 380, 14, 20]) }, null, null, null],
        "reverse_heat": [[9, 700, 10, 299, 13, 1], null, null, null],
        "stamp": ["kernel", "kernel", "user", "kernel"],
    })
}

fn clocks() -> Value {
    json!({"pair": [0], "offset_ns": [-1_234_567], "error_ns": [41_200_000], "skew_ppb": [320]})
}

fn host() -> Value {
    let delay =
        |p99: i64| json!({"count": 2000, "p50_ns": 3_000, "p99_ns": p99, "max_ns": 900_000});
    json!({
        "monitor.lateness": delay(12_000), "monitor.send_gap": delay(21_000), "monitor.receive_gap": delay(310_000),
        "monitor.slots_missed": 0, "monitor.cpu": 31_000_000, "monitor.resident": 45 << 20,
        "monitor.clock.synchronised": 1, "monitor.clock.error": 1_200_000,
        "backends": {"otlp": {"monitor.backend.sent": 112, "monitor.backend.oldest": 2_300_000_000_i64}},
    })
}

fn burst(interval: i64) -> Value {
    json!({"event": "burst", "flow": "udp", "direction": "forward", "start": BEGIN_NS + interval * SECOND_NS - 500_000_000,
        "duration": 19_000_000, "peak": 16_400_000, "mean": 8_100_000, "base": 21_000, "probes": 20, "lost": 5,
        "tags": ["source:fra1", "target:nyc1", "isp:x", "class:gold"], "suspect": "network", "evidence": {}})
}

fn snapshot() -> Vec<u8> {
    let route = json!({"event": "route_change", "flow": "udp", "direction": "reverse", "at": BEGIN_NS - SECOND_NS,
        "old": 40_000_000, "new": 41_200_000, "tags": ["source:fra1", "target:tokyo\u{7}"]});
    let told = json!({
        "source": "fra1", "interval_ns": SECOND_NS, "heat_edges_ns": edges(), "pairs": pairs(), "flows": [],
        "deliveries": [{"backend": "otlp", "ok": true}], "events": [route], "paths": [], "end_ns": BEGIN_NS,
        "rows": rows(0), "clocks": clocks(), "host": host(),
    });
    serde_json::to_vec(&told).unwrap()
}

fn update(interval: i64) -> Vec<u8> {
    let told = json!({"end_ns": BEGIN_NS + interval * SECOND_NS, "new": [], "gone": [], "rows": rows(interval),
        "clocks": clocks(), "host": host()});
    serde_json::to_vec(&told).unwrap()
}

const NYC_UDP: Key = Key {
    pair: 0,
    flow: FlowKind::Udp,
};

/// A model of a daemon that has told eight intervals, with a burst in the fourth; its past was asked for.
fn model() -> Model {
    let mut model = Model::default();
    model.begin(&snapshot()).unwrap();
    model.choose(NYC_UDP, Back::Live);
    for interval in 1..=8 {
        model.update(&update(interval)).unwrap();
        if interval == 4 {
            let event = serde_json::to_vec(&burst(4)).unwrap();
            model.event(&event).unwrap();
        }
    }
    let ends: Vec<i64> = (-30..=2).map(|at| BEGIN_NS + at * SECOND_NS).collect();
    let column = |value: Value| vec![value; ends.len()];
    let past = json!({"end_ns": ends, "series": [{"pair": 0, "flow": "udp", "sent": column(json!(1000)),
        "lost": column(json!(0)), "rtt_p99_ns": column(json!(82_420_000))}]});
    model.add_past(&serde_json::to_vec(&past).unwrap()).unwrap();
    let past = json!({"pair": 0, "flow": "udp", "end_ns": ends, "lost": column(json!(0)),
        "forward_heat": column(json!([9, 700, 10, 300])), "reverse_heat": column(json!([9, 800, 10, 200]))});
    let past = serde_json::to_vec(&past).unwrap();
    model.add_past_of(NYC_UDP, Back::Live, &past).unwrap();
    model
}

fn drawn(model: &Model, view: &View, width: u16, height: u16) -> Buffer {
    let mut buffer = Buffer::empty(Rect::new(0, 0, width, height));
    let scene = Scene {
        model,
        view,
        palette: Palette::new(true),
        place: "http://127.0.0.1:8003",
        silent_s: None,
    };
    draw::draw(&scene, &mut buffer);
    buffer
}

fn lines(buffer: &Buffer) -> String {
    let area = buffer.area;
    let mut text = String::new();
    for y in area.y..area.bottom() {
        let mut line = String::new();
        let mut x = area.x;
        while x < area.right() {
            let symbol = buffer[(x, y)].symbol();
            line.push_str(symbol);
            // A wide character has its neighbour's place, too.
            let wide = ratatui::text::Span::raw(symbol).width().max(1);
            x += u16::try_from(wide).unwrap();
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn view() -> View {
    View {
        selected: Some(NYC_UDP),
        ..View::default()
    }
}

#[test]
fn a_list_has_room_in_a_small_terminal() {
    insta::assert_snapshot!(lines(&drawn(&model(), &view(), 80, 24)));
}

#[test]
fn a_list_fills_a_large_terminal() {
    insta::assert_snapshot!(lines(&drawn(&model(), &view(), 250, 80)));
}

#[test]
fn other_screens_are_drawn() {
    let mut shown = String::new();
    for screen in [Screen::Detail, Screen::Events, Screen::Host, Screen::Help] {
        let view = View { screen, ..view() };
        let _ = write!(
            shown,
            "{screen:?}\n{}\n",
            lines(&drawn(&model(), &view, 100, 24))
        );
    }
    insta::assert_snapshot!(shown);
}

/// Every size must be drawn without a panic, from none to a wall's.
#[test]
fn every_size_is_drawn() {
    let model = model();
    let screens = [
        Screen::List,
        Screen::Detail,
        Screen::Events,
        Screen::Host,
        Screen::Help,
    ];
    for screen in screens {
        for width in [0, 1, 7, 59, 60, 61, 79, 100, 121, 300] {
            for height in [0, 1, 9, 10, 11, 19, 20, 21, 50] {
                let view = View { screen, ..view() };
                drawn(&model, &view, width, height);
                drawn(&Model::default(), &view, width, height);
            }
        }
    }
}

#[test]
fn words_of_strangers_reach_no_cell_as_they_are() {
    for screen in [Screen::List, Screen::Detail, Screen::Events, Screen::Host] {
        let buffer = drawn(&model(), &View { screen, ..view() }, 250, 80);
        for cell in buffer.content() {
            let is_foreign = |c: char| c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c);
            assert!(!cell.symbol().contains(is_foreign), "{:?}", cell.symbol());
        }
    }
    let text = lines(&drawn(&model(), &view(), 250, 80));
    assert!(text.contains("evil\\u{202e}\\u{1b}[2J → fra1"), "{text}");
}

#[test]
fn without_colours_the_same_is_told() {
    let (model, view) = (model(), view());
    let mut buffer = Buffer::empty(Rect::new(0, 0, 100, 30));
    let mut scene = Scene {
        model: &model,
        view: &view,
        palette: Palette::new(false),
        place: "http://127.0.0.1:8003",
        silent_s: None,
    };
    draw::draw(&scene, &mut buffer);
    let reset = ratatui::style::Color::Reset;
    assert!(
        buffer
            .content()
            .iter()
            .all(|cell| (cell.fg, cell.bg) == (reset, reset))
    );
    let plain = lines(&buffer);
    scene.palette = Palette::new(true);
    draw::draw(&scene, &mut buffer);
    assert!(buffer.content().iter().any(|cell| cell.fg != reset));
    assert_eq!(lines(&buffer), plain);
}

#[test]
fn losses_are_added_up_over_a_minute_by_direction() {
    let mut model = model();
    let row = &model.rows[&NYC_UDP];
    let counts = row.counts(LOSS_SPAN_NS);
    assert_eq!(
        (counts.lost, counts.lost_forward, counts.lost_reverse),
        (7, 5, 2)
    );
    // Nine intervals were seen; those of the past have no directions and do not count.
    assert_eq!(counts.due(), 9_000);
    assert_eq!(row.ticks.len(), 39);
    for interval in 9..=64 {
        model.update(&update(interval)).unwrap();
    }
    let counts = model.rows[&NYC_UDP].counts(LOSS_SPAN_NS);
    assert_eq!((counts.lost, counts.due()), (0, 60_000));
}

#[test]
fn a_row_of_which_nothing_comes_shows_nothing() {
    let mut model = model();
    let told =
        json!({"end_ns": BEGIN_NS + 9 * SECOND_NS, "gone": [1], "rows": {"pair": [], "flow": []}});
    model.update(&serde_json::to_vec(&told).unwrap()).unwrap();
    assert_eq!(model.rows[&NYC_UDP].get(told::Figure::RttP50), None);
    assert_eq!(model.rows.keys().filter(|key| key.pair == 1).count(), 0);
    // What the host said last still holds.
    assert!(!model.host.is_empty());
}

#[test]
fn what_is_no_line_of_a_daemon_is_an_error() {
    let mut model = model();
    for json in [
        "",
        "[]",
        "{}",
        "{\"end_ns\": \"x\"}",
        "{\"end_ns\": 1, \"rows\": {\"sent\": 7}}",
    ] {
        assert!(model.update(json.as_bytes()).is_err(), "{json}");
        assert!(model.begin(json.as_bytes()).is_err(), "{json}");
    }
    assert!(model.event(b"[1]").is_ok());
    // Bins that do not exist are left out of every line.
    let told = json!({"end_ns": 1, "rows": {"pair": [0, 4_000_000_000_u32, 0], "flow": ["udp", "tcp", "smoke"],
        "rtt_heat": [[u64::MAX, u64::MAX, 3]], "sent": [i64::MAX, i64::MIN, 3], "lost": [i64::MAX, i64::MAX]}});
    model.update(&serde_json::to_vec(&told).unwrap()).unwrap();
    model.update(&serde_json::to_vec(&told).unwrap()).unwrap();
    for screen in [Screen::List, Screen::Detail] {
        drawn(&model, &View { screen, ..view() }, 120, 40);
    }
}

fn press(view: &mut View, model: &Model, keys: &[KeyCode]) {
    for code in keys {
        let wish = view.press(KeyEvent::new(*code, KeyModifiers::NONE), model);
        assert_eq!(wish, Wish::Nothing);
    }
}

#[test]
fn keys_sort_filter_and_choose() {
    let model = model();
    let mut view = View::default();
    view.settle(&model);
    let names = |view: &View| -> Vec<String> {
        let rows = view.rows(&model).into_iter();
        rows.map(|key| format!("{} {}", view::name_of(&model, key), key.flow.as_str()))
            .collect()
    };
    assert_eq!(
        names(&view)[..3],
        ["evil\\u{202e}\\u{1b}[2J → fra1 udp", "nyc1 udp", "nyc1 tcp"]
    );
    press(&mut view, &model, &[KeyCode::Char('s')]);
    assert_eq!(view.sort, Sort::Loss);
    assert_eq!(names(&view)[..2], ["tokyo 日本 connect", "nyc1 udp"]);
    press(&mut view, &model, &[KeyCode::Char('r')]);
    assert_eq!(names(&view)[3], "tokyo 日本 connect");
    let typed = [
        KeyCode::Char('/'),
        KeyCode::Char('G'),
        KeyCode::Char('o'),
        KeyCode::Enter,
    ];
    press(&mut view, &model, &typed);
    view.settle(&model);
    assert_eq!(names(&view), ["nyc1 tcp", "nyc1 udp"]);
    assert_eq!(
        view.selected,
        Some(Key {
            pair: 0,
            flow: FlowKind::Tcp
        })
    );
    press(&mut view, &model, &[KeyCode::Down, KeyCode::Down]);
    assert_eq!(view.selected, Some(NYC_UDP));
    press(&mut view, &model, &[KeyCode::Enter]);
    assert_eq!(view.screen, Screen::Detail);
    // The first one leaves the screen, the second one the filter.
    press(&mut view, &model, &[KeyCode::Esc, KeyCode::Esc]);
    assert_eq!((view.screen, names(&view).len()), (Screen::List, 4));
}

#[test]
fn keys_that_are_typed_into_a_filter_do_nothing_else() {
    let model = model();
    let mut view = View::default();
    press(
        &mut view,
        &model,
        &[KeyCode::Char('/'), KeyCode::Char('q'), KeyCode::Char('p')],
    );
    assert_eq!(view.filter, "qp");
    press(&mut view, &model, &[KeyCode::Char('x'); 99]);
    assert_eq!(
        view.filter.chars().count(),
        crate::limits::TOP_FILTER_CHARS_MAX
    );
    let control = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!(view.press(control, &model), Wish::Quit);
    press(&mut view, &model, &[KeyCode::Esc]);
    assert_eq!(view.filter, "");
    let quit = KeyEvent::new(KeyCode::Char('q'), KeyModifiers::NONE);
    assert_eq!(view.press(quit, &model), Wish::Quit);
}

#[test]
fn a_restarted_daemon_has_the_same_row_chosen() {
    let before = model();
    let name = view::Name::of(&before, NYC_UDP);
    let mut told: Value = serde_json::from_slice(&snapshot()).unwrap();
    told["pairs"][0]["pair"] = json!(7);
    told["rows"]["pair"] = json!([7, 7, 1, 2]);
    let mut model = Model::default();
    model.begin(&serde_json::to_vec(&told).unwrap()).unwrap();
    let mut view = View::default();
    view.choose_named(&model, name.as_ref());
    let flow = FlowKind::Udp;
    assert_eq!(view.selected, Some(Key { pair: 7, flow }));
    view.choose_named(&model, None);
    assert_eq!(view.selected, None);
}

#[test]
fn what_is_wrong_with_the_daemon_is_said_where_its_health_was() {
    let mut model = model();
    for (link, silent_s, words) in [
        (Link::Live, None, "host  late p99 12.0µs"),
        (Link::Live, Some(12), "no figures for 12 s"),
        (
            Link::Lost("connection refused".to_owned()),
            None,
            "LOST, trying again",
        ),
    ] {
        model.link = link;
        let mut buffer = Buffer::empty(Rect::new(0, 0, 80, 24));
        let scene = Scene {
            model: &model,
            view: &view(),
            palette: Palette::new(true),
            place: "unix:/run/lm.sock",
            silent_s,
        };
        draw::draw(&scene, &mut buffer);
        let text = lines(&buffer);
        let line = text.lines().nth(22).unwrap();
        assert!(line.contains(words), "{text}");
    }
}

/// What the next test runs in a terminal.
#[test]
#[ignore = "it panics: another test looks at the terminal after it"]
fn a_planted_panic() {
    with_terminal(|terminal| {
        terminal
            .draw(|frame| frame.render_widget("drawn", frame.area()))
            .unwrap();
        panic!("planted");
    })
    .unwrap();
}

#[test]
fn a_panic_leaves_the_terminal_as_it_was() {
    let OpenptyResult { master, slave } = openpty(
        &Winsize {
            ws_row: 24,
            ws_col: 80,
            ws_xpixel: 0,
            ws_ypixel: 0,
        },
        None,
    )
    .unwrap();
    let before = tcgetattr(&slave).unwrap();
    let mut process = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "top::tests::a_planted_panic",
            "--ignored",
            "--nocapture",
        ])
        .stdin(slave.try_clone().unwrap())
        .stdout(slave.try_clone().unwrap())
        .stderr(slave.try_clone().unwrap())
        .spawn()
        .unwrap();
    // The terminal's buffer is small: it is read while the process writes, and ends once nobody holds the other side.
    let after = thread::spawn(move || {
        let code = process.wait().unwrap();
        (code, tcgetattr(&slave).unwrap())
    });
    let mut shown = Vec::new();
    // Linux tells the end of a terminal as EIO.
    let _ = File::from(master).read_to_end(&mut shown);
    let (code, after) = after.join().unwrap();
    assert!(!code.success());
    let shown = String::from_utf8_lossy(&shown);
    let (enters, leaves, shows) = ("\x1b[?1049h", "\x1b[?1049l", "\x1b[?25h");
    let place = |text: &str| {
        shown
            .find(text)
            .unwrap_or_else(|| panic!("no {text:?} in {shown:?}"))
    };
    assert!(place(enters) < place("drawn"), "{shown:?}");
    assert!(place("drawn") < place(leaves), "{shown:?}");
    assert!(
        place(leaves) < place("planted"),
        "what it tells is on the screen that is left: {shown:?}"
    );
    assert!(
        place(shows) > place("drawn"),
        "the cursor is hidden: {shown:?}"
    );
    assert_eq!(after, before);
}
