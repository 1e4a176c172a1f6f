//! The worlds that come along.

/// A world file that is part of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Builtin {
    /// Name to ask for it by: the file's name without its ending.
    pub name: &'static str,
    /// The file.
    pub text: &'static str,
}

/// All of them, the default first.
pub const BUILTIN: [Builtin; 13] = [
    Builtin {
        name: "default",
        text: include_str!("../../worlds/default.yaml"),
    },
    Builtin {
        name: "node-sg",
        text: include_str!("../../worlds/node-sg.yaml"),
    },
    Builtin {
        name: "node-sg-and-control-plane-sg",
        text: include_str!("../../worlds/node-sg-and-control-plane-sg.yaml"),
    },
    Builtin {
        name: "terraform",
        text: include_str!("../../worlds/terraform.yaml"),
    },
    Builtin {
        name: "pod-sg",
        text: include_str!("../../worlds/pod-sg.yaml"),
    },
    Builtin {
        name: "nacl-ephemeral",
        text: include_str!("../../worlds/nacl-ephemeral.yaml"),
    },
    Builtin {
        name: "peering",
        text: include_str!("../../worlds/peering.yaml"),
    },
    Builtin {
        name: "peered-client",
        text: include_str!("../../worlds/peered-client.yaml"),
    },
    Builtin {
        name: "dual-stack",
        text: include_str!("../../worlds/dual-stack.yaml"),
    },
    Builtin {
        name: "drift-open",
        text: include_str!("../../worlds/drift-open.yaml"),
    },
    Builtin {
        name: "drift-closed",
        text: include_str!("../../worlds/drift-closed.yaml"),
    },
    Builtin {
        name: "webhooks",
        text: include_str!("../../worlds/webhooks.yaml"),
    },
    Builtin {
        name: "control-plane-drift",
        text: include_str!("../../worlds/control-plane-drift.yaml"),
    },
];
