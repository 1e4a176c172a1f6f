//! Pulses on their way: calls that go on while the run probes, and one call more of each when everything else has ended.

use std::collections::BTreeSet;

use reachproof_model::observation::{AgentName, Attempt};
use reachproof_model::plan::{PlannedPulse, ProbeId, ProbeKind};
use reachproof_proto::net::Nonce;
use reachproof_proto::v1;
use tokio::time::Instant;

use super::probe::Piece;
use crate::wire::assignment::pulse as wire_pulse;

/// Most calls of one pulse that go on by themselves (`control.proto`: 1,024).
pub(super) const CALLS_MAX: u32 = 1_024;

/// Number of the first call that was asked for by itself: above all those that go on by themselves, also after the agent
/// began anew.
pub(super) const SINGLE_CALLS_FIRST: u32 = 2_048;

/// Highest number of a call (`control.proto`).
pub(super) const CALL_NUMBER_MAX: u32 = 4_096;

/// One pulse.
pub(super) struct PulseState<'plan> {
    pub(super) planned: &'plan PlannedPulse,
    pub(super) nonce: Nonce,
    /// Number of the first of the calls that go on by themselves.
    first: u32,
    /// Since when they go on.
    since: Option<Instant>,
    /// When the single calls were handed out, by their numbers from [`SINGLE_CALLS_FIRST`] on.
    singles: Vec<Option<Instant>>,
}

impl PulseState<'_> {
    /// When a call was due at the earliest; absent for one that was never asked for.
    pub(super) fn due(&self, number: u32) -> Option<Instant> {
        match number.checked_sub(SINGLE_CALLS_FIRST) {
            Some(single) => {
                let single = usize::try_from(single).ok()?;
                self.singles.get(single).copied().flatten()
            }
            None => {
                let calls = number.checked_sub(self.first)?;
                Some(self.since? + self.planned.interval.saturating_mul(calls))
            }
        }
    }

    /// Number of the last single call that was asked for.
    pub(super) fn last_single(&self) -> Option<u32> {
        let last = u32::try_from(self.singles.len()).ok()?.checked_sub(1)?;
        Some(SINGLE_CALLS_FIRST.saturating_add(last))
    }

    /// Notes that a piece of it is handed out.
    pub(super) fn hand_out(&mut self, piece: Piece, now: Instant) {
        match piece.first.checked_sub(SINGLE_CALLS_FIRST) {
            Some(single) => {
                let single = usize::try_from(single).unwrap_or(usize::MAX);
                if let Some(place) = self.singles.get_mut(single) {
                    place.get_or_insert(now);
                }
            }
            None => {
                self.since.get_or_insert(now);
            }
        }
    }

    /// Lets the calls begin again after those that were reported, since their agent lost them.
    pub(super) fn forget(&mut self, attempts: &[Attempt]) {
        let by_itself = attempts
            .iter()
            .filter(|attempt| attempt.number < SINGLE_CALLS_FIRST);
        let last = by_itself.map(|attempt| attempt.number).max();
        self.first = last.map_or(self.first, |number| number + 1);
        self.since = None;
    }

    /// Writes a piece of it.
    pub(super) fn to_wire(&self, piece: Piece, calls: u32) -> Option<v1::Probe> {
        if piece.first >= SINGLE_CALLS_FIRST {
            return Some(wire_pulse(self.planned, piece.first, 1, &self.nonce));
        }
        let calls = calls.min(SINGLE_CALLS_FIRST.checked_sub(self.first)?);
        (calls > 0).then(|| wire_pulse(self.planned, self.first, calls, &self.nonce))
    }
}

/// The pulses of a plan, in their order.
#[derive(Default)]
pub(super) struct Pulses<'plan>(Vec<PulseState<'plan>>);

impl<'plan> Pulses<'plan> {
    /// Adds the next one.
    pub(super) fn push(&mut self, planned: &'plan PlannedPulse, nonce: Nonce) {
        self.0.push(PulseState {
            planned,
            nonce,
            first: 0,
            since: None,
            singles: Vec::new(),
        });
    }

    /// All of them.
    pub(super) fn iter(&self) -> std::slice::Iter<'_, PulseState<'plan>> {
        self.0.iter()
    }

    /// The place of the pulse with a number in the run.
    pub(super) fn place(&self, id: ProbeId) -> Option<usize> {
        let first = self.0.first()?.planned.id;
        let place = id.index().checked_sub(first.index())?;
        let pulse = self.0.get(place)?;
        (pulse.planned.id == id).then_some(place)
    }

    pub(super) fn get(&self, id: ProbeId) -> Option<&PulseState<'plan>> {
        self.0.get(self.place(id)?)
    }

    pub(super) fn get_mut(&mut self, id: ProbeId) -> Option<&mut PulseState<'plan>> {
        let place = self.place(id)?;
        self.0.get_mut(place)
    }

    /// Asks for one call more, and returns what was asked for with its agents: of each pulse that has begun, but of those
    /// that make TLS handshakes only as many as it needs that every target and every caller is heard.
    pub(super) fn ask_once_more(&mut self) -> Vec<(Piece, AgentName)> {
        let (mut asked, mut heard) = (Vec::new(), BTreeSet::new());
        let rank = |pulse: &PulseState<'_>| pulse.planned.kind == ProbeKind::Certify;
        let mut pulses: Vec<&mut PulseState<'_>> = self.0.iter_mut().collect();
        pulses.sort_by_key(|pulse| rank(pulse));
        for pulse in pulses {
            let single = u32::try_from(pulse.singles.len()).unwrap_or(u32::MAX);
            let first = SINGLE_CALLS_FIRST.saturating_add(single);
            let planned = pulse.planned;
            let ends = [planned.source, planned.target.ip()];
            let is_needed = !rank(pulse) || ends.iter().any(|end| !heard.contains(end));
            if is_needed && pulse.since.is_some() && first <= CALL_NUMBER_MAX {
                heard.extend(ends);
                pulse.singles.push(None);
                let id = planned.id;
                asked.push((Piece { id, first }, planned.agent.clone()));
            }
        }
        asked
    }

    /// Whether every caller and every target was part of a call that has ended, by the number of ended calls.
    pub(super) fn have_begun(&self, ended: impl Fn(usize) -> usize) -> bool {
        let (mut all, mut heard) = (BTreeSet::new(), BTreeSet::new());
        for (place, pulse) in self.0.iter().enumerate() {
            let ends = [pulse.planned.source, pulse.planned.target.ip()];
            all.extend(ends);
            if ended(place) > 0 {
                heard.extend(ends);
            }
        }
        all == heard
    }
}
