//! How stream packets travel: what a rule asks for, and what a peer speaks. From these a pool's layout is chosen where
//! it opens ([`super::layout`]); what the addressee does not take travels as whole packets with an index in band, which
//! every peer takes.

use super::simplemux::Flavour;
use super::wire::{Template, TemplateId};

/// How a rule's packets travel inside a pooled packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Representation {
    /// As they are.
    #[default]
    Whole,
    /// Payloads of streams that both ends were told of.
    Provisioned,
    /// Payloads behind headers that the far end was told of on the way.
    Learned,
}

/// Where the index of a rule's pooled packets is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Index {
    /// In front of the data.
    #[default]
    InBand,
    /// In a packet of its own.
    OutOfBand,
    /// Nowhere: both ends know the lengths, which a template lists.
    Predetermined {
        /// What the template is called.
        id: TemplateId,
        /// What it says.
        template: Template,
    },
}

/// What becomes of a packet that no other one joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Lone {
    /// It leaves as itself.
    #[default]
    Itself,
    /// It leaves in a pooled packet with one row, so that no device on the way treats it differently from its like.
    Pooled,
}

/// The protocol that a peer speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Format {
    /// This project's (docs/wire-format.md).
    #[default]
    Native,
    /// Simplemux (docs/simplemux.md): no hellos, no sequence numbers, nothing but whole IPv4 packets for the peer itself.
    Simplemux(Flavour),
}

/// How the packets of a pool lie in the pooled packet: what came of the rule's wishes and of what its addressee takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PoolLayout {
    /// Whole packets, their index in front.
    Whole,
    /// Whole packets, their index in a packet of its own.
    OutOfBand,
    /// Whole packets of lengths that both ends know.
    Predetermined,
    /// Payloads of streams that both ends were told of.
    Provisioned,
    /// Payloads behind headers that the far end was told of on the way.
    Learned,
    /// Whole packets behind Simplemux's separators.
    Simplemux,
}

impl PoolLayout {
    /// Its name: the word of the rule's key, or of the peer's, that asks for it.
    pub const fn name(self) -> &'static str {
        match self {
            PoolLayout::Whole => "whole",
            PoolLayout::OutOfBand => "out-of-band",
            PoolLayout::Predetermined => "predetermined",
            PoolLayout::Provisioned => "provisioned",
            PoolLayout::Learned => "learned",
            PoolLayout::Simplemux => "simplemux",
        }
    }
}

impl Format {
    /// The UDP port that this format has for itself, as source and as destination; None where it has what is configured.
    #[inline(always)]
    pub const fn port(self) -> Option<u16> {
        match self {
            Format::Native => None,
            Format::Simplemux(flavour) => Some(flavour.port()),
        }
    }
}
