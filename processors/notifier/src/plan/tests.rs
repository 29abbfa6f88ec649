use super::*;
use crate::config::{Hidden, Inhibit};

fn receiver(name: &str, kind: &str) -> Receiver {
    let url = ["webhook", "slack", "alertmanager"].contains(&kind).then(|| Hidden::new("https://hooks.example.com/T0/SECRET"));
    let path = (kind == "file").then(|| "x.jsonl".into());
    Receiver { name: name.to_owned(), kind: kind.to_owned(), url, path, ..Receiver::default() }
}

fn route(matcher: &str, receiver: &str) -> Written {
    let matchers = if matcher.is_empty() { Vec::new() } else { vec![matcher.to_owned()] };
    Written { matchers, receiver: Some(receiver.to_owned()).filter(|name| !name.is_empty()), ..Written::default() }
}

fn config(routes: Vec<Written>) -> Config {
    let receiver = vec![receiver("all", "file"), receiver("pager", "webhook"), receiver("chat", "slack")];
    Config { receiver, receivers: vec!["all".to_owned()], route: Some(routes), ..Config::default() }
}

fn labels(text: &str) -> Labels {
    text.split(' ').filter_map(|pair| pair.split_once('=')).map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[test]
fn the_first_route_that_matches_takes_an_alert_unless_it_says_continue() {
    let mut critical = route("severity=critical", "pager");
    critical.route = vec![route("venue=~\"btc.*\"", "chat")];
    let mut copied = route("alertname=A", "chat");
    copied.goes_on = true;
    let plan = Plan::new(&config(vec![copied, critical, route("severity=~\".+\"", "all")])).unwrap();
    let check = |text: &str, want: &str| {
        let told: Vec<String> =
            plan.places(&labels(text)).iter().map(|place| plan.routes[place.route].receivers.join("+")).collect();
        assert_eq!(told.join(" "), want, "{text}");
    };
    check("alertname=B severity=critical", "pager");
    check("alertname=B severity=critical venue=btcturk", "chat");
    check("alertname=B severity=warning", "all");
    check("alertname=A severity=critical", "chat pager");
    check("alertname=B", "all");
}

#[test]
fn a_group_is_named_by_its_route_and_its_labels_and_by_nothing_else() {
    let plan = Plan::new(&config(vec![route("severity=critical", "pager")])).unwrap();
    let key = |text: &str| plan.places(&labels(text))[0].key.clone();
    assert_eq!(key("alertname=A severity=critical venue=v symbol=s"), r#"{}/{severity="critical"}:{alertname="A",venue="v"}"#);
    assert_eq!(key("alertname=A severity=warning"), r#"{}:{alertname="A"}"#);
    assert_eq!(group_id("x"), group_id("x"));
    assert_ne!(group_id("x"), group_id("y"));
}

#[test]
fn without_a_word_in_the_configuration_everything_goes_to_a_file() {
    let plan = Plan::new(&Config::default()).unwrap();
    let wait = |text: &str| plan.routes[plan.places(&labels(text))[0].route].group_wait.as_secs();
    assert_eq!(wait("alertname=HighLatency severity=critical"), 0);
    assert_eq!(wait("alertname=HighLatency severity=warning"), 5);
    assert_eq!(wait("alertname=WSStaleness severity=critical symbol=s"), 5);
    assert_eq!(wait("alertname=WSStaleness severity=critical venue=v"), 0);
    assert_eq!(plan.routes[0].receivers, ["file"]);
}

#[test]
fn each_mistake_is_named_with_its_key_its_value_and_what_would_be_right() {
    type Spoil = fn(&mut Config);
    let cases: &[(Spoil, &[&str])] = &[
        (
            |c| c.route = Some(vec![route("severity=critical", "pagr")]),
            &["route[0].receiver = \"pagr\"", "known are all, chat, pager"],
        ),
        (|c| c.receivers = vec!["nobody".into()], &["receivers = \"nobody\"", "known are"]),
        (|c| c.receiver.push(receiver("all", "stdout")), &["receiver[3].name = \"all\"", "two receivers"]),
        (|c| c.receiver[2].name = "a b".into(), &["receiver[2].name = \"a b\"", "e.g. \"pager\""]),
        (|c| c.receiver[1].kind = "webhok".into(), &["receiver[1].type = \"webhok\"", "webhook, slack"]),
        (|c| c.receiver[1].url = Some(Hidden::new("hooks/SECRET")), &["receiver[1].url = (hidden)", "https://"]),
        (|c| c.receiver[1].url = Some(Hidden::new("ftp://x/SECRET")), &["receiver[1].url = (hidden)", "https://"]),
        (|c| c.receiver[1].url = None, &["receiver[1].url", "url_file"]),
        (|c| c.receiver[0].url = Some(Hidden::new("http://x")), &["receiver[0].url", "remove it"]),
        (|c| c.receiver[0].path = None, &["receiver[0].path", "notifications.jsonl"]),
        (|c| c.receiver.clear(), &["receiver: 0 receivers", "[[notifier.receiver]]"]),
        (|c| c.route = Some(vec![route("venue=~\"[\"", "all")]), &["route[0].matchers", "[", "regular expression"]),
        (|c| c.route = Some(vec![route("venue>1", "all")]), &["route[0].matchers", "venue>1", "=~"]),
        (|c| c.route = Some(vec![route("", "all"), route("a=b", "all")]), &["route[1]", "never reached", "route[0]", "continue"]),
        (|c| c.route = Some(vec![route("a=b", "all"), route("a=b,c=d", "all")]), &["route[1]", "never reached"]),
        (
            |c| c.route = Some(vec![Written { group_wait: Some("5".into()), ..route("a=b", "all") }]),
            &["route[0].group_wait = \"5\"", "e.g. \"30s\""],
        ),
        (|c| c.group_interval = "0s".into(), &["group_interval = \"0s\"", "1ms"]),
        (|c| c.repeat_interval = "4 h".into(), &["repeat_interval = \"4 h\"", "unit"]),
        (|c| c.group_by = vec!["alert name".into()], &["group_by = \"alert name\"", "alertname"]),
        (|c| c.retry_pause_max = "1ms".into(), &["retry_pause_max = \"1ms\"", "shorter"]),
        (|c| c.external_url = "spark".into(), &["external_url = \"spark\"", "http://"]),
        (
            |c| c.inhibit = vec![Inhibit { target: vec!["a=b".into()], ..Inhibit::default() }],
            &["inhibit[0]", "source or target is empty"],
        ),
        (
            |c| c.inhibit = vec![Inhibit { source: vec!["a=~(".into()], target: vec!["a=b".into()], equal: Vec::new() }],
            &["inhibit[0]", "regular expression"],
        ),
    ];
    for (spoil, parts) in cases {
        let mut config = config(vec![route("severity=critical", "pager")]);
        spoil(&mut config);
        let said = config.validate();
        assert!(said.len() == 1 || parts[0].contains("0 receivers"), "{parts:?}: {said:#?}");
        assert!(parts.iter().all(|part| said[0].contains(part)) && !said[0].contains("SECRET"), "{parts:?}: {}", said[0]);
    }
    assert_eq!(config(vec![route("severity=critical", "pager")]).validate(), Vec::<String>::new());
}

#[test]
fn no_address_is_shown_by_debug_or_when_written_out() {
    let config = config(Vec::new());
    let plan = Plan::new(&config).unwrap();
    for text in [format!("{config:?}"), format!("{plan:?}"), serde_json::to_string(&config).unwrap()] {
        assert!(!text.contains("SECRET"), "{text}");
    }
}
