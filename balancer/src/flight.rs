//! A client's first words, where it speaks before the node does: kept until a node has answered,
//! so that they can be said again to another one. Pure.
//! It does not know TLS beyond a record's length, or sockets. `reach` and `relay` fill and use it.

/// The most that is kept; a client that says more before any answer is bound to its node.
pub(crate) const FLIGHT_MAX: usize = 16 * 1024;
/// Type, version and length before the content of a record (RFC 8446 §5.1).
const RECORD_HEADER: usize = 5;

/// What a client has said so far, and how much of it this node has taken.
#[derive(Debug, Default)]
pub(crate) struct Flight {
    pub(crate) said: Vec<u8>,
    pub(crate) sent: usize,
    /// The client has ended.
    pub(crate) ended: bool,
}

impl Flight {
    /// Another node: it has heard nothing.
    pub(crate) fn begin_anew(&mut self) {
        self.sent = 0;
    }

    /// Whether the client has said nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.said.is_empty()
    }

    /// How much more can be kept.
    pub(crate) fn room(&self) -> usize {
        FLIGHT_MAX.saturating_sub(self.said.len())
    }

    /// Whether the client has said more than is kept.
    pub(crate) fn is_too_large(&self) -> bool {
        self.room() == 0
    }

    /// Whether the node owes an answer: it has a whole record, or there will be no more.
    pub(crate) fn is_due(&self) -> bool {
        let whole = match self.said.get(3..RECORD_HEADER) {
            Some(&[high, low]) => {
                self.said.len() >= RECORD_HEADER + usize::from(u16::from_be_bytes([high, low]))
            }
            _ => false,
        };
        whole || self.ended || self.is_too_large()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_due_to_a_whole_record() {
        let mut flight = Flight::default();
        let hello = [22, 3, 1, 0, 4, b'c', b'h', b'l', b'o'];
        for byte in hello {
            assert!(!flight.is_due(), "after {:?}", flight.said);
            flight.said.push(byte);
        }
        assert!(flight.is_due() && !flight.is_too_large());
        flight.said = vec![0xff; FLIGHT_MAX - 1];
        assert!(!flight.is_due(), "a record of 65,535");
        flight.said.push(0);
        assert!(flight.is_due() && flight.is_too_large());
        let ended = Flight { ended: true, ..Flight::default() };
        assert!(ended.is_due() && ended.is_empty());
    }
}
