//! What each metric of a process's own `/metrics` means, in one place: a process may serve any of them.

/// Name and meaning.
const TEXTS: &[(&str, &str)] = &[
    ("spark_alerts_firing", "Alerts that fire, by name and severity."),
    ("spark_audit_damage", "Whether the LEDGER is not what the audit chain says."),
    ("spark_audit_entries_total", "Messages in the audit chain."),
    ("spark_audit_head_sequence", "LEDGER sequence of the newest message in the audit chain."),
    ("spark_bist_data_age_seconds", "How old the newest share price is, the vendor's delay included."),
    ("spark_bist_delay_seconds", "How late the vendor of share prices is by contract."),
    ("spark_bist_last_update_ts", "When the vendor last confirmed a share's price, s since the epoch."),
    ("spark_bist_session_open", "Whether Borsa Istanbul trades continuously, by the feed's calendar."),
    ("spark_bist_staleness_seconds", "How long the vendor has not confirmed a share's price; 0 outside of the session."),
    ("spark_candles_backfill_total", "Questions for an exchange's own candles, by exchange and outcome."),
    ("spark_candles_call_reports_dropped_total", "Reports on calls for candles that were not stored."),
    ("spark_candles_closed_total", "Candles told for the first time, by length."),
    ("spark_candles_corrected_total", "Higher revisions of candles, by length."),
    ("spark_candles_duplicates_total", "Trades that candles had counted already."),
    ("spark_candles_impossible_total", "Candles that were not told because their figures are out of range."),
    ("spark_candles_late_trades_total", "Trades that came after a candle of theirs was closed, by what became of them."),
    ("spark_candles_refused_trades_total", "Trades that no candle counts, by reason."),
    ("spark_candles_unreadable_total", "Messages that could not be read, by reason."),
    ("spark_backtest_bars_per_second", "Bars (of all combinations) a second of the last job."),
    ("spark_backtest_jobs_total", "Jobs that came to an end, by state."),
    ("spark_decisions_diverged_total", "Decisions that were stored differently than they would be made now."),
    ("spark_exchange_api_error_total", "Failed calls to an exchange, by type of error."),
    ("spark_exchange_breaker_open", "Whether the circuit breaker of an exchange is open."),
    ("spark_exchange_rate_limited_total", "Calls that an exchange refused as too many."),
    ("spark_exchange_rows_rejected_total", "Rows of an exchange's answers that could not be read."),
    ("spark_exchange_user_data_unreadable_total", "Messages of an exchange about the own account that could not be read."),
    ("spark_exchange_user_data_up", "Whether the stream of an exchange about the own account is connected."),
    ("spark_feed_book_gaps_total", "Order books that had to be read anew because an update was missing."),
    ("spark_feed_call_reports_dropped_total", "Reports on calls that were not stored."),
    ("spark_feed_duplicates_total", "Trades that came again."),
    ("spark_feed_frames_rejected_total", "Frames that could not be read."),
    ("spark_feed_quotes_total", "Best bids and asks read."),
    ("spark_feed_reconnects_total", "Reconnects to a venue."),
    ("spark_feed_rejections_total", "Frames that could not be read, by reason."),
    ("spark_feed_ticks_total", "Trades read."),
    ("spark_feed_trades_filled_total", "Missing trades fetched over REST."),
    ("spark_feed_trades_missing_total", "Trade ids found missing."),
    ("spark_guardrail_clamped_total", "Messages whose time lay outside of what is believed."),
    ("spark_guardrail_refused_total", "Messages and commands that the guardrail refused."),
    ("spark_guardrail_restarts_total", "Restarts that the guardrail asked for."),
    ("spark_guardrail_rollbacks_total", "Rollbacks that the guardrail asked for."),
    ("spark_guardrail_trades_total", "Trades that the guardrail counted, each id once."),
    ("spark_last_update_timestamp", "When the process last brought something in, s since the epoch."),
    ("spark_marks_total", "Marks stored."),
    ("spark_marks_withheld_total", "Marks that were not stored, by reason."),
    ("spark_notifier_deliveries_total", "Notifications by what became of them."),
    ("spark_notifier_retries_total", "Tries after the first one."),
    ("spark_notifier_waiting", "Notifications that no receiver has taken yet."),
    ("spark_order_fill_total", "Fills, by exchange."),
    ("spark_order_illegal_transition_total", "State changes that were refused because the order's state does not allow them."),
    ("spark_order_submit_latency_ms", "Time from sending an order to the exchange's answer."),
    ("spark_orders_open", "Orders approved and not final."),
    ("spark_orders_total", "Order events, by state and exchange."),
    ("spark_orders_unknown", "Orders whose submission was not answered yet."),
    ("spark_parked_total", "Messages parked, by reason."),
    ("spark_portfolio_asset_count", "Assets with a balance."),
    ("spark_portfolio_last_update_timestamp", "When balances were last read, s since the epoch."),
    ("spark_portfolio_refresh_latency_ms", "Duration of one whole refresh of one exchange."),
    ("spark_portfolio_total_value_usd", "Sum of the known values of an account."),
    ("spark_risk_block_total", "Orders refused, by guard."),
    ("spark_risk_decision_seconds", "Time to decide on one order."),
    ("spark_risk_decisions_total", "Verdicts."),
    ("spark_risk_divergence_total", "Verdicts that were stored differently than they would be given now."),
    ("spark_risk_duplicate_intents_total", "Orders that were asked for again."),
    ("spark_risk_killswitch_active", "Whether the kill switch is on."),
    ("spark_risk_open_orders", "Orders approved and not final, as risk counts them."),
    ("spark_risk_waiting", "Orders that wait for their verdict."),
    ("spark_rollout_gate", "What a gate of the rollout says: 0 passed, 1 inconclusive, 2 failed."),
    ("spark_rollout_refusals_total", "Commands about the rollout that were refused."),
    ("spark_rollout_stage", "Stage of the rollout: 0 off or rolled back, 1 preview, 2 at 10 %, 3 at 50 %, 4 at 100 %."),
    ("spark_rollout_transitions_total", "Changes of the rollout's stage or phase."),
    ("spark_signal_answers_total", "Scores given to those who asked."),
    ("spark_signal_confidence", "Confidence of the newest score, by time frame."),
    ("spark_signal_intents_total", "Orders that the model asked for."),
    ("spark_signal_latency_seconds", "Time from a candle's close to its score's storage."),
    ("spark_signal_scores_total", "Scores stored, by time frame and whether they are advisory."),
    ("spark_signal_unreadable_total", "Messages that could not be read, by reason."),
    ("spark_sim_requests_total", "Requests to the simulated exchanges, by status."),
    ("spark_sim_slow_clients_total", "Clients of the simulated exchanges that were cut off because they did not read."),
    ("spark_strategy_intents_total", "Orders asked for, by strategy."),
    ("spark_strategy_refused_total", "Orders refused, by strategy."),
    ("spark_strategy_unreadable_total", "Messages that could not be read, by reason."),
    ("spark_trading_halted_exchanges", "Exchanges on which trading is halted until an operator resumes it."),
    ("spark_up", "Whether the process runs."),
    ("spark_ws_staleness_seconds", "Age of a symbol's newest market data."),
];

/// Tells the recorder that is installed. A metric's kind is of no matter for its text.
pub(super) fn describe() {
    for (name, text) in TEXTS {
        metrics::describe_gauge!(*name, *text);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::TEXTS;

    fn sources(folder: &Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sources(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(std::fs::read_to_string(&path).unwrap());
            }
        }
    }

    #[test]
    fn every_metric_of_every_process_has_a_text_and_every_text_a_metric() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut texts = Vec::new();
        for folder in ["nats", "exchanges", "processors"] {
            sources(&root.join(folder), &mut texts);
        }
        let mut recorded = std::collections::BTreeSet::from(["spark_up"]);
        for text in &texts {
            for part in text.split("metrics::").skip(1) {
                let Some((kind, rest)) = part.split_once("!(") else { continue };
                let name = rest.trim_start().strip_prefix('"').and_then(|rest| rest.split('"').next());
                if let Some(name) = name.filter(|_| ["counter", "gauge", "histogram"].contains(&kind)) {
                    recorded.insert(name);
                    assert!(TEXTS.iter().any(|(known, _)| *known == name), "{name} has no text in cli/src/process/help.rs");
                }
            }
        }
        assert!(recorded.len() > 40, "only {} metrics were found", recorded.len());
        for (name, _) in TEXTS {
            let named = texts.iter().any(|text| text.contains(&format!("\"{name}\"")));
            assert!(recorded.contains(name) || named, "{name} is nowhere recorded");
        }
    }
}
