//! The order of the gates, and the order of what is not known: both written once (SEMANTICS K, K.1).
//!
//! Whoever judges flows (one flow in [`super::predict`], the way between two places, an interval of ports, a word of
//! intervals, an explanation) implements [`Gates`] for what it carries and calls [`walk`]: it says what happens at a
//! gate, never which gate comes next.

use crate::prediction::{StepOutcome, UnknownReason};
use crate::snapshot::Direction;

/// A gate whose answer depends on addresses, subnets and VPCs, but on no port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Fixed {
    /// Whether both ends are known well enough to be judged.
    Endpoints,
    /// The source/destination check of the sender.
    SourceDestCheck,
    /// The forward route.
    Route,
    /// Whether the far side can be judged at all.
    Receiver,
    /// The two lists that replies meet.
    Replies,
    /// The return route.
    ReturnRoute,
    /// Policies that select an end.
    NetworkPolicy,
}

/// What is judged on its way through the gates.
pub(crate) trait Gates {
    /// What a gate leaves behind that ends the walk.
    type End;

    /// Meets a gate without ports.
    fn fixed(&mut self, gate: Fixed) -> Result<(), Self::End>;

    /// Meets the security groups of the sender (egress) or of the receiver (ingress).
    fn rules(&mut self, direction: Direction) -> Result<(), Self::End>;

    /// Meets the network ACL of the sender's subnet (egress) or of the receiver's (ingress).
    fn entries(&mut self, direction: Direction) -> Result<(), Self::End>;
}

/// Walks the gates in the order of SEMANTICS K; an `Err` is the gate that ends the walk.
#[inline]
pub(crate) fn walk<G: Gates>(gates: &mut G) -> Result<(), G::End> {
    gates.fixed(Fixed::Endpoints)?;
    gates.fixed(Fixed::SourceDestCheck)?;
    gates.rules(Direction::Egress)?;
    gates.fixed(Fixed::Route)?;
    gates.entries(Direction::Egress)?;
    gates.fixed(Fixed::Receiver)?;
    gates.entries(Direction::Ingress)?;
    gates.rules(Direction::Ingress)?;
    gates.fixed(Fixed::Replies)?;
    gates.fixed(Fixed::ReturnRoute)?;
    gates.fixed(Fixed::NetworkPolicy)
}

/// Something that is not known and does not end the walk: the first variant that holds is named (K.1 "Order among
/// unknowns").
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Doubt {
    /// An appliance is on the way.
    Middlebox,
    /// What the transit gateway does is not known.
    TransitGateway,
    /// Two views of something on the way contradict each other.
    Conflict,
    /// A list or the way back is not known.
    Other,
    /// An appliance is on the way back.
    ReturnMiddlebox,
    /// The rules of an end do not settle it.
    Rules,
    /// A policy selects an end.
    NetworkPolicy,
}

impl Doubt {
    const ALL: [Self; 7] = [
        Self::Middlebox,
        Self::TransitGateway,
        Self::Conflict,
        Self::Other,
        Self::ReturnMiddlebox,
        Self::Rules,
        Self::NetworkPolicy,
    ];

    /// The bit of the doubt: the first variant has the lowest one.
    const fn bit(self) -> u8 {
        match self {
            Self::Middlebox => 1,
            Self::TransitGateway => 1 << 1,
            Self::Conflict => 1 << 2,
            Self::Other => 1 << 3,
            Self::ReturnMiddlebox => 1 << 4,
            Self::Rules => 1 << 5,
            Self::NetworkPolicy => 1 << 6,
        }
    }

    /// Returns the reason; absent of rules, which have names.
    pub(crate) fn reason(self) -> Option<UnknownReason> {
        match self {
            Self::Middlebox => Some(UnknownReason::Middlebox),
            Self::TransitGateway => Some(UnknownReason::Tgw),
            Self::Conflict => Some(UnknownReason::Conflict),
            Self::Other => Some(UnknownReason::Other),
            Self::ReturnMiddlebox => Some(UnknownReason::ReturnMiddlebox),
            Self::Rules => None,
            Self::NetworkPolicy => Some(UnknownReason::NetworkPolicy),
        }
    }

    /// Returns what a gate says that leaves the doubt.
    pub(crate) fn outcome(self) -> StepOutcome {
        StepOutcome::Unknown(self.reason().unwrap_or(UnknownReason::Other))
    }
}

/// What is not known, kept until it is clear that nothing denies: DENY beats UNKNOWN beats PARTIAL beats ALLOW.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub(crate) struct Doubts(u8);

impl Doubts {
    /// Remembers a doubt.
    pub(crate) fn add(&mut self, doubt: Doubt) {
        self.0 |= doubt.bit();
    }

    /// Remembers a doubt where there is one.
    pub(crate) fn add_if(&mut self, is_doubtful: bool, doubt: Doubt) {
        self.0 |= u8::from(is_doubtful) * doubt.bit();
    }

    /// Returns whether a doubt is remembered.
    pub(crate) fn has(self, doubt: Doubt) -> bool {
        self.0 & doubt.bit() != 0
    }

    /// Returns whether nothing is in doubt.
    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Returns the doubt that is named.
    pub(crate) fn settle(self) -> Option<Doubt> {
        Doubt::ALL
            .get(usize::try_from(self.0.trailing_zeros()).ok()?)
            .copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_doubt_in_the_order_of_the_walk_is_named() {
        let mut doubts = Doubts::default();
        assert_eq!(doubts.settle(), None);
        for doubt in Doubt::ALL.into_iter().rev() {
            doubts.add(doubt);
            assert_eq!(doubts.settle(), Some(doubt));
        }
        assert!(Doubt::ALL.is_sorted());
    }
}
