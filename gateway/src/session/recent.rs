//! The last deliveries of this gateway, so that a connection whose replay has come close goes live at once,
//! however fast its rooms are: what it missed meanwhile is here.

use std::collections::VecDeque;

use messenger_core::Position;

use super::delivery::Delivery;

const DELIVERIES_MAX: usize = 512;
const BYTES_MAX: usize = 2 * 1024 * 1024;

/// Deliveries in the order of their positions, bounded in number and bytes.
#[derive(Debug, Default)]
pub struct Recent {
    deliveries: VecDeque<Delivery>,
    bytes: usize,
    /// Everything delivered above it is here.
    complete_from: Position,
}

impl Recent {
    /// Forgets everything; from now on everything above `position` will be added.
    pub fn restart(&mut self, position: Position) {
        *self = Self { complete_from: position, ..Self::default() };
    }

    /// Adds the newest.
    pub fn add(&mut self, delivery: Delivery) {
        self.bytes += delivery.size();
        self.deliveries.push_back(delivery);
        while self.deliveries.len() > DELIVERIES_MAX || self.bytes > BYTES_MAX {
            let Some(oldest) = self.deliveries.pop_front() else { break };
            self.bytes = self.bytes.saturating_sub(oldest.size());
            self.complete_from = oldest.position;
        }
    }

    /// Everything delivered after `position`, oldest first; none when it is no longer all here.
    pub fn after(&mut self, position: Position) -> Option<impl Iterator<Item = &mut Delivery>> {
        if position < self.complete_from {
            return None;
        }
        let known = self.deliveries.partition_point(|delivery| delivery.position <= position);
        Some(self.deliveries.range_mut(known..))
    }
}
