//! Policies: not evaluated, so that selected pods are unknown (E.5).

mod words;

use super::{Doubt, Walk};
use crate::prediction::{Gate, Place, StepOutcome, UnknownReason};
use crate::snapshot::Policing;

impl Walk<'_> {
    /// Remembers whether a policy concerns the pod at either address, before any SNAT (K.1 "NetworkPolicy"). The step
    /// says what the other gates would say `alone`.
    pub(super) fn network_policies(&mut self, alone: &'static str) {
        let source = self.snapshot.policing(self.flow.source);
        let destination = self.snapshot.policing(self.flow.destination);
        if (&source, &destination) == (&Policing::None, &Policing::None) {
            return;
        }
        self.doubts.add(Doubt::NetworkPolicy);
        let outcome = StepOutcome::Unknown(UnknownReason::NetworkPolicy);
        self.note(Gate::NetworkPolicy, Place::Flow, outcome, |_| {
            words::policies(alone, &source, &destination)
        });
    }
}
