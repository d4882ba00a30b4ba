//! Frames and kernel messages: do they say what they should, and does nonsense do no harm?
//! It does not know sockets; `tests/virtual_ip.rs` has real ones.

use std::net::IpAddr;

use proptest::collection::vec;
use proptest::prelude::*;

use super::netlink::{self, Answer, Assigned, Link};
use super::packets::{Claim, Instruction, Mac, announcements, claim, filter, probe};

const OWN: Mac = Mac([2, 0, 0, 0, 0, 1]);
const OTHER: Mac = Mac([2, 0, 0, 0, 0, 2]);

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What the kernel does with a filter, as far as ours go.
fn passes(filter: &[Instruction], frame: &[u8]) -> bool {
    let (mut at, mut value) = (0, 0);
    loop {
        let (code, yes, no, operand) = filter[at];
        let offset = usize::try_from(operand).expect("a small number");
        at += 1;
        match code {
            0x20 => match frame.get(offset..offset + 4) {
                Some(word) => value = u32::from_be_bytes(word.try_into().expect("four")),
                None => return false,
            },
            0x30 => match frame.get(offset) {
                Some(byte) => value = u32::from(*byte),
                None => return false,
            },
            0x15 => at += usize::from(if value == operand { yes } else { no }),
            0x06 => return operand > 0,
            _ => panic!("no such instruction: {code:#x}"),
        }
    }
}

/// What we hear of a frame, if the kernel lets it through to us.
fn heard(frame: &[u8], address: IpAddr) -> Option<Claim> {
    claim(frame, address, &[OWN]).filter(|_| passes(&filter(address), frame))
}

#[test]
fn arp_frames_are_as_the_rfc_draws_them() {
    let address = ip("192.0.2.25");
    let probe = probe(address, OWN);
    let expected = "ffffffffffff0200000000010806000108000604\
                    000102000000000100000000000000000000c0000219";
    assert_eq!(hex(&probe), expected);
    let [request, reply] = &announcements(address, OWN)[..] else { panic!("two forms") };
    let expected = "ffffffffffff0200000000010806000108000604\
                    0001020000000001c0000219000000000000c0000219";
    assert_eq!(hex(request), expected);
    let expected = "ffffffffffff0200000000010806000108000604\
                    0002020000000001c0000219ffffffffffffc0000219";
    assert_eq!(hex(reply), expected);
}

#[test]
fn neighbor_frames_are_as_the_rfc_draws_them() {
    let address = ip("2001:db8::12:3456");
    let probe = probe(address, OWN);
    assert_eq!(hex(&probe[..14]), "3333ff12345602000000000186dd");
    assert_eq!(hex(&probe[14..22]), "6000000000183aff");
    assert_eq!(hex(&probe[38..54]), "ff0200000000000000000001ff123456");
    let [frame] = &announcements(address, OWN)[..] else { panic!("one form") };
    assert_eq!(hex(&frame[..14]), "33330000000102000000000186dd");
    assert_eq!(hex(&frame[54..56]), "8800");
    assert_eq!(hex(&frame[58..62]), "20000000");
    assert_eq!(hex(&frame[78..]), "0201020000000001");
    for frame in [&probe, frame] {
        assert_eq!(sum(frame), 0xffff, "the sum over all of it, its own field among it");
    }
}

/// RFC 1071 over pseudo header and message.
fn sum(frame: &[u8]) -> u32 {
    let (addresses, message) = (&frame[22..54], &frame[54..]);
    let length = u32::try_from(message.len()).expect("a short one");
    let bytes = addresses.iter().chain(message).copied().collect::<Vec<_>>();
    let words = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]));
    let sum: u32 = words.sum::<u32>() + length + 58;
    (sum & 0xffff) + (sum >> 16)
}

#[test]
fn what_others_say_is_understood() {
    for address in [ip("192.0.2.25"), ip("2001:db8::25")] {
        assert_eq!(heard(&probe(address, OTHER), address), Some(Claim::Wants(OTHER)));
        for frame in announcements(address, OTHER) {
            assert_eq!(heard(&frame, address), Some(Claim::Has(OTHER)), "{}", hex(&frame));
        }
        for frame in announcements(address, OWN) {
            assert_eq!(heard(&frame, address), None, "that is ourselves");
        }
        let next = if address.is_ipv4() { ip("192.0.2.26") } else { ip("2001:db8::26") };
        for frame in announcements(next, OTHER).iter().chain([&probe(next, OTHER)]) {
            assert_eq!(heard(frame, address), None, "that is of another address");
        }
    }
}

#[test]
fn an_ordinary_question_for_the_address_is_no_claim() {
    // A client asks who has 192.0.2.25: its own address is the sender's.
    let address = ip("192.0.2.25");
    let mut frame = probe(address, OTHER);
    frame[28..32].copy_from_slice(&[192, 0, 2, 7]);
    assert!(!passes(&filter(address), &frame), "nor need it come to us");
    assert_eq!(claim(&frame, address, &[OWN]), None);
}

#[test]
fn what_came_through_a_router_is_not_believed() {
    let address = ip("2001:db8::25");
    let mut frame = announcements(address, OTHER).remove(0);
    frame[21] = 254;
    assert_eq!(heard(&frame, address), None);
}

fn assigned(network: &str) -> Assigned {
    let (address, prefix) = network.split_once('/').expect("a prefix");
    Assigned { interface: 7, address: ip(address), prefix: prefix.parse().expect("a number") }
}

#[test]
fn addresses_are_put_on_as_ip_does_it() {
    // `strace -e trace=sendmsg ip address add 192.0.2.25/24 dev eth0`, with `replace` for `add`.
    let message = netlink::put(assigned("192.0.2.25/24"));
    let expected = [
        &48_u32.to_ne_bytes()[..],
        &20_u16.to_ne_bytes(),
        &0x505_u16.to_ne_bytes(),
        &[0; 8],
        &[2, 24, 0, 0],
        &7_u32.to_ne_bytes(),
        &8_u16.to_ne_bytes(),
        &2_u16.to_ne_bytes(),
        &[192, 0, 2, 25],
        &8_u16.to_ne_bytes(),
        &1_u16.to_ne_bytes(),
        &[192, 0, 2, 25],
        &8_u16.to_ne_bytes(),
        &4_u16.to_ne_bytes(),
        &[192, 0, 2, 255],
    ];
    assert_eq!(hex(&message), hex(&expected.concat()));
    assert_eq!(netlink::put(assigned("192.0.2.25/32")).len(), 40, "no broadcast address");
    assert_eq!(netlink::put(assigned("2001:db8::25/64")).len(), 24 + 20 + 20 + 20);
}

#[test]
fn answers_are_understood() {
    let refused = |number: i32| {
        let mut message = 36_u32.to_ne_bytes().to_vec();
        message.extend([&2_u16.to_ne_bytes()[..], &[0; 10], &(-number).to_ne_bytes()].concat());
        message.resize(36, 0);
        message
    };
    let read = |bytes: &[u8]| netlink::answers(bytes).collect::<Vec<_>>();
    assert_eq!(read(&refused(1)), [Answer::Refused(1)]);
    let both = [refused(0), refused(19)].concat();
    assert_eq!(read(&both), [Answer::End, Answer::Refused(19)]);
    // What we ask for has the form of what the kernel tells.
    for network in ["192.0.2.25/24", "2001:db8::25/64"] {
        assert_eq!(read(&netlink::put(assigned(network))), [Answer::Address(assigned(network))]);
    }
    let mut link = netlink::get_link("eth0");
    link[4..6].copy_from_slice(&16_u16.to_ne_bytes());
    link[18..20].copy_from_slice(&1_u16.to_ne_bytes());
    link[20..24].copy_from_slice(&7_u32.to_ne_bytes());
    link[24..28].copy_from_slice(&0x41_u32.to_ne_bytes());
    let name = "eth0".to_owned();
    let expected = Link { index: 7, name, mac: None, up: true, running: true };
    assert_eq!(read(&link), [Answer::Link(expected)]);
}

proptest! {
    #[test]
    fn no_frame_does_harm(frame in vec(any::<u8>(), 0..128), six in any::<bool>()) {
        let address = if six { ip("2001:db8::25") } else { ip("192.0.2.25") };
        if claim(&frame, address, &[OWN]).is_some() {
            prop_assert!(passes(&filter(address), &frame), "the filter would have kept it away");
        }
    }

    #[test]
    fn no_frame_with_some_sense_does_harm(
        at in 0_usize..86, byte in any::<u8>(), cut in 0_usize..90, six in any::<bool>(),
    ) {
        let address = if six { ip("2001:db8::25") } else { ip("192.0.2.25") };
        for mut frame in announcements(address, OTHER).into_iter().chain([probe(address, OTHER)]) {
            if let Some(place) = frame.get_mut(at) {
                *place = byte;
            }
            frame.truncate(cut);
            if claim(&frame, address, &[OWN]).is_some() {
                prop_assert!(passes(&filter(address), &frame), "the filter kept it away");
            }
        }
    }

    #[test]
    fn no_answer_does_harm(bytes in vec(any::<u8>(), 0..256)) {
        prop_assert!(netlink::answers(&bytes).count() <= 16);
    }

    #[test]
    fn no_answer_with_some_sense_does_harm(at in 0_usize..84, byte in any::<u8>()) {
        let mut bytes = netlink::put(assigned("2001:db8::25/64"));
        if let Some(place) = bytes.get_mut(at) {
            *place = byte;
        }
        prop_assert!(netlink::answers(&bytes).count() <= 5);
    }
}
