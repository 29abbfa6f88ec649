use super::*;

const NOW: i64 = 1_000_000;

fn state() -> State {
    let mut state = State::of("http://127.0.0.1:4001");
    let windows: Vec<String> = (0..60)
        .map(|at| {
            let (state, value) = if at == 40 { ("firing", 99) } else { ("inactive", at) };
            format!(
                "{{\"rule\":\"rule_{at}\",\"scope\":{{\"venue\":\"binance\"}},\"value\":{value},\"unit\":\"ms\",\"warning\":1000,\"critical\":2000,\"state\":\"{state}\"}}"
            )
        })
        .collect();
    let snapshot = format!(
        r#"{{"system":{{"status":"DEMO","broker_connected":true,"parked":{{"count":2}},
        "processes":[{{"name":"feed","presence":"up","state":"running","expected":true,"pid":7,"age_ms":200,"resident_bytes":69206016}},
                     {{"name":"risk","presence":"down","expected":true,"detail":"a \u001b[31mred\u001b[0m word"}}],
        "feeds":[{{"venue":"binance","state":"live","symbols":["BTCUSDT"],"age_ms":10}}]}},
        "alerts":{{"active":[{{"name":"WSStaleness","state":"firing","severity":"critical","scope":{{"venue":"btcturk"}},
            "since":900000000000,"summary":"firing: 99 s","first_action":"look at the feed"}}]}},
        "windows":{{"at":1000000000,"values":[{}],"trades_counted":{{"binance.BTCUSDT":10}}}},
        "orders":{{"orders":[{{"order":"a","at":"2026-11-21T10:00:00Z","strategy":"s","exchange":"binance","symbol":"BTCUSDT","side":"buy",
            "quantity":0.00100,"price":null,"averagePrice":62000.10,"state":"filled"}}],"openCount":0}},
        "guard":{{"killSwitch":{{"on":true}},"halts":[]}},
        "prices":[{{"venue":"binance","symbol":"BTCUSDT","last":62000.10,"bid":62000,"ask":62001,"age_ms":5}}]}}"#,
        windows.join(",")
    );
    state.apply("snapshot", &snapshot, NOW);
    assert_eq!(state.windows.len(), 60, "the picture can be read");
    state.apply_metrics("spark_stream_last_sequence{stream=\"FEED\"} 10\nspark_consumer_lag_messages{stream=\"FEED\",consumer=\"guardrail\"} 5000\n", NOW);
    state
}

fn texts(state: &State, view: View, now_ms: i64, width: usize, height: usize) -> Vec<String> {
    screen(state, view, now_ms, width, height).iter().map(Line::text).collect()
}

#[test]
fn every_section_fills_the_screen_exactly_whatever_its_size() {
    let state = state();
    for (section, _) in SECTIONS {
        for (width, height) in [(80, 24), (30, 8), (200, 60), (1, 1), (79, 7), (500, 300)] {
            let lines = texts(&state, View { section, ..View::default() }, NOW, width, height);
            assert_eq!(lines.len(), height, "{section:?} at {width}×{height}");
            let wide: Vec<_> = lines.iter().filter(|line| line.chars().count() > width).collect();
            assert!(wide.is_empty(), "{section:?} at {width}×{height}: {wide:?}");
        }
    }
    let empty = State::default();
    assert_eq!(texts(&empty, View::default(), NOW, 80, 24).len(), 24);
}

#[test]
fn what_matters_is_in_the_first_lines_and_in_its_section() {
    let state = state();
    let shown = |section| texts(&state, View { section, ..View::default() }, NOW, 120, 30).join("\n");
    let rates = shown(Section::Rates);
    for part in [
        "DEMO",
        "0.0 s old",
        "processes 1/2",
        "feeds 1/1",
        "firing 1",
        "parked 2",
        "trading KILLED",
        "guardrail",
        "5000",
        "62000.10",
    ] {
        assert!(rates.contains(part), "{part} is not in\n{rates}");
    }
    let windows = shown(Section::Windows);
    let (firing, other) = (windows.find("rule_40").unwrap(), windows.find("rule_59").unwrap());
    assert!(firing < other && other < windows.find("rule_58").unwrap(), "what fires is first, then what is nearest to its limit");
    let alerts = shown(Section::Alerts);
    assert!(alerts.contains("WSStaleness [btcturk]: firing for 100 s") && alerts.contains("first: look at the feed"), "{alerts}");
    let processes = shown(Section::Processes);
    assert!(processes.contains("down") && processes.contains("66 MiB") && !processes.contains('\u{1b}'), "{processes}");
    let orders = shown(Section::Orders);
    assert!(orders.contains("0.00100") && orders.contains("market") && orders.contains("filled"), "{orders}");
}

#[test]
fn scrolling_stops_at_the_end_and_says_what_is_above_and_below() {
    let state = state();
    let mut view = View { section: Section::Windows, ..View::default() };
    let end = scroll_max(&state, view, NOW, 24);
    assert_eq!(end, 61 - (24 - 4), "a head and 60 windows, in what the screen leaves");
    assert!(texts(&state, view, NOW, 80, 24)[23].contains(&format!("0 above, {end} below")));
    view.scroll = usize::MAX;
    let lines = texts(&state, view, NOW, 80, 24);
    assert!(lines[23].contains(&format!("{end} above, 0 below")), "{lines:#?}");
}

#[test]
fn what_is_old_is_grey_and_says_so() {
    let mut state = state();
    let view = View { section: Section::Processes, ..View::default() };
    let is_grey = |state: &State, now_ms| {
        let lines = screen(state, view, now_ms, 100, 24);
        let feed = lines.iter().find(|line| line.text().starts_with("feed ")).unwrap();
        feed.0.iter().all(|(_, style)| *style == Some(Style::Dim))
    };
    assert!(!is_grey(&state, NOW));
    assert!(is_grey(&state, NOW + 10_000));
    assert!(texts(&state, view, NOW + 10_000, 100, 24)[3].contains("said nothing for 10 s"));
    state.lost("connection refused".into());
    assert!(is_grey(&state, NOW));
    assert!(texts(&state, view, NOW, 100, 24)[3].contains("trying again: connection refused"));
    state.apply("processes", r#"{"broker_connected":false,"processes":[]}"#, NOW);
    assert!(texts(&state, view, NOW, 100, 24)[3].contains("lost the broker"));
}
