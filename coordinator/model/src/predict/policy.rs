//! NetworkPolicies: not evaluated, so that selected pods are unknown (E.5).

use super::{Doubt, Walk};
use crate::prediction::{Gate, Place, StepOutcome, UnknownReason};

impl Walk<'_> {
    /// Remembers whether a policy selects the pod at either address, before any SNAT (K.1 "NetworkPolicy").
    pub(super) fn network_policies(&mut self) {
        let mut selecting = self.snapshot.network_policies_selecting(self.flow.source);
        selecting.extend(
            self.snapshot
                .network_policies_selecting(self.flow.destination),
        );
        if selecting.is_empty() {
            return;
        }
        let reason = UnknownReason::NetworkPolicy;
        self.doubts.add(Doubt::NetworkPolicy);
        let outcome = StepOutcome::Unknown(reason);
        self.note(Gate::NetworkPolicy, Place::Flow, outcome, |_| {
            super::words::policies(&selecting)
        });
    }
}
