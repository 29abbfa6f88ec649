use super::{read, render};

const WHOLE: &str = r#"{"uid":"u","title":"T","panels":[{"type":"row","title":"R","panels":[
    {"type":"timeseries","title":"P","targets":[{"expr":"up > 1"},{"expr":"down"}],
     "description":"What is | shown.\n\n**SLO:** below 1 | 2\n\n**Checks:** first; second\n\n**Fast action:** do\n\n**Permanent fix:** fix\n\n**Alerts:** A, B",
     "links":[{"title":"PromQL","url":"x"},{"title":"Runbook","url":"/public/runbooks/parked.md"}]}]}]}"#;

#[test]
fn a_panel_becomes_a_section_with_all_its_texts() {
    let dashboard = read("t.json", WHOLE).unwrap();
    assert_eq!(dashboard.mistakes, Vec::<String>::new());
    let text = render(&[dashboard]);
    let want = "### P\n\nWhat is | shown.\n\n```promql\nup > 1\n```\n\n```promql\ndown\n```\n\n- **SLO:** below 1 | 2\n- **Checks:**\n  1. first\n  2. second\n\
        - **Fast action:** do\n- **Permanent fix:** fix\n- **Alerts:** A, B\n- **Runbook:** [docs/runbooks/parked.md](docs/runbooks/parked.md)\n";
    assert!(text.ends_with(want), "{text}");
    assert!(text.contains("| P | below 1 \\| 2 | do |"), "{text}");
}

#[test]
fn each_missing_text_is_named_with_file_and_panel() {
    let check = |cut: &str, put: &str, want: &str| {
        let json = WHOLE.replace(cut, put);
        assert_ne!(json, WHOLE, "{cut}");
        let mistakes = read("t.json", &json).unwrap().mistakes;
        assert!(mistakes.len() == 1 && mistakes[0].starts_with(&format!("t.json: panel \"{want}")), "{mistakes:?}");
    };
    check(r#""title":"P""#, r#""title":"""#, "a panel without a title\": no title");
    check(r"What is | shown.\n\n", "", "P\": no description");
    check(r#""targets""#, r#""t""#, "P\": no query");
    check("**SLO:** below 1 | 2", "**SLO:** ", "P\": no SLO");
    check("**Checks:**", "**Check:**", "P\": no checks");
    check("**Fast action:**", "", "P\": no fast action");
    check("**Permanent fix:**", "", "P\": no permanent fix");
    check(r#""title":"Runbook""#, r#""title":"Book""#, "P\": no runbook link");
}

#[test]
fn what_is_no_dashboard_is_said_to_be_none() {
    let said = |json: &str| read("t.json", json).unwrap_err().to_string();
    assert!(said("{").contains("t.json is not JSON"), "{}", said("{"));
    assert!(said("{}").contains("no list `panels`"), "{}", said("{}"));
    assert!(said(r#"{"title":"T","panels":[]}"#).contains("no panel"));
}
