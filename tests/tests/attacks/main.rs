//! Attempts to make a report say what the wire does not bear out, each through the real binaries in a lab.
//!
//! Each must end as *inconclusive* with the right reason, or be refused, on a flow that the model allows and on one that it
//! denies; and whatever else a report is sure of must be so (`truth`).

mod firewall;
mod flood;
mod handshakes;
mod identity;
mod outage;
mod ports;
mod queue;
mod redirect;
mod rogue;
mod strangers;

use std::process::ExitCode;

use reachproof_tests::binaries::build;
use reachproof_tests::harness::{Case, CaseResult, run_cases_together};

/// Cases that run at a time: they mostly wait.
const TOGETHER: usize = 3;

/// A case that runs in every run of the tests.
const fn case(name: &'static str, run: fn() -> CaseResult) -> Case {
    Case {
        name,
        ignored: None,
        run,
    }
}

fn main() -> ExitCode {
    run_cases_together(
        || Ok(build()?),
        &[
            // The longest first, so that nobody waits for them alone at the end.
            case(
                "silence_of_a_queue_that_stays_full_proves_nothing",
                queue::full_to_the_end,
            ),
            case("one_token_is_good_for_one_agent", identity::seven_greetings),
            case(
                "silence_in_an_outage_of_two_hosts_proves_nothing",
                outage::of_two_hosts,
            ),
            case(
                "a_port_unreachable_of_the_source_itself_proves_nothing",
                firewall::icmp_in_the_source,
            ),
            case(
                "a_reset_of_the_source_itself_proves_nothing",
                firewall::reset_in_the_source,
            ),
            case(
                "a_port_unreachable_on_the_way_proves_nothing",
                firewall::icmp_on_the_way,
            ),
            case(
                "a_reset_on_the_way_proves_nothing",
                firewall::reset_on_the_way,
            ),
            case(
                "a_redirected_connection_proves_nothing",
                redirect::to_a_silent_listener,
            ),
            case(
                "a_certificate_of_another_authority_proves_nothing",
                redirect::to_another_authority,
            ),
            case(
                "a_redirected_question_to_the_resolver_proves_nothing",
                redirect::of_the_resolver,
            ),
            case(
                "silence_of_a_queue_that_is_full_for_a_while_proves_nothing",
                queue::full_for_a_while,
            ),
            case(
                "silence_of_a_queue_that_overflows_proves_nothing",
                queue::overflowing,
            ),
            case(
                "a_denied_flow_that_a_fifth_of_the_ports_passes_is_open",
                ports::the_last_fifth_admitted,
            ),
            case(
                "a_denied_flow_that_the_first_fifth_of_the_ports_passes_is_open",
                ports::the_first_fifth_admitted,
            ),
            case(
                "an_allowed_flow_that_most_ports_do_not_pass_is_closed_for_some",
                ports::most_dropped,
            ),
            case(
                "an_address_that_two_agents_claim_is_disputed",
                identity::claimed_twice,
            ),
            case(
                "a_lonely_agent_leaves_every_wish_unverified",
                identity::alone,
            ),
            case(
                "a_token_of_a_finished_run_is_refused",
                identity::finished_run,
            ),
            case(
                "addresses_that_no_interface_has_are_refused",
                identity::strange_addresses,
            ),
            case(
                "an_interface_of_the_control_plane_has_two_handshakes_a_second_at_most",
                handshakes::as_predicted,
            ),
            case(
                "an_open_wire_brings_an_interface_two_handshakes_a_second_more_at_most",
                handshakes::on_an_open_wire,
            ),
            case(
                "two_hundred_bare_connections_keep_no_agent_out",
                strangers::bare_connections,
            ),
            case(
                "six_thousand_idle_tls_connections_keep_no_agent_out",
                strangers::idle_tls,
            ),
            case(
                "ten_thousand_connections_of_one_address_keep_no_agent_out",
                flood::ten_thousand,
            ),
            case(
                "streams_without_a_greeting_cost_no_memory_for_long",
                strangers::streams_without_greeting,
            ),
        ],
        TOGETHER,
    )
}
