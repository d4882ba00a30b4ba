//! Can a sender hide a second message in the first? (mail.md section 5, row 1; RFC 5321 §4.1.1.4)
//! It does not know how a message's end is found; real clients' bytes go through the balancer.

use harness::message::{only_crlf, subject};
use harness::{ALICE, BOB, Cluster, SmtpClient, message};

/// Each looks like the end of a message to some server. None is: only CRLF.CRLF is.
const ENDINGS: [&[u8]; 11] = [
    b"\n.\n",
    b"\n.\r\n",
    b"\r.\r",
    b"\r.\n",
    b"\n.\r",
    b"\r\n.\n",
    b"\r.\r\n",
    b"\r\n.\r",
    b"\r\n\0.\r\n",
    b"\r\n.\r\r\n",
    b"\r\n.\r\r\r\n",
];

/// What a smuggler puts behind such an ending: a whole second message.
const SMUGGLED: &[u8] = b"MAIL FROM:<admin@example.test>\r\n\
    RCPT TO:<bob@example.test>\r\n\
    DATA\r\n\
    Subject: smuggled\r\n\
    \r\n\
    it got through\r\n\
    .\r\n";

#[test]
fn no_ending_but_crlf_dot_crlf_ends_a_message() {
    let cluster = Cluster::start(3);
    for (number, ending) in ENDINGS.iter().enumerate() {
        for byte_by_byte in [false, true] {
            let name = format!("try {number} {byte_by_byte}");
            let taken = smuggle(&cluster, &name, ending, byte_by_byte);
            let shown = ending.escape_ascii();

            let hers: Vec<_> = cluster.read_all(ALICE);
            let seen: Vec<_> = hers.iter().filter(|read| subject(read) == name).collect();
            assert_eq!(seen.len(), usize::from(taken), "{shown}: messages of {name}");
            hers.iter().for_each(|read| only_crlf(read));
            let his = cluster.read_all(BOB);
            assert!(his.is_empty(), "{shown}: bob has got {:?}", subject(&his[0]));
        }
    }
}

/// Sends one message with `ending` and a second one inside it; says whether it was taken.
fn smuggle(cluster: &Cluster, name: &str, ending: &[u8], byte_by_byte: bool) -> bool {
    let shown = ending.escape_ascii();
    let mut client = SmtpClient::hello(cluster.smtp());
    client.say("MAIL FROM:<sender@example.net>").is(250);
    client.say("RCPT TO:<alice@example.test>").is(250);
    client.say("DATA").is(354);
    let all = [&message(name)[..], b"the first one", ending, SMUGGLED].concat();
    let sent = match byte_by_byte {
        true => client.line().send_byte_by_byte(&all),
        false => client.line().send(&all),
    };
    sent.unwrap_or_else(|error| panic!("{shown}: {error}"));
    let answer = client.read_reply().expect("one answer to one message");
    assert!([250, 550].contains(&answer.code), "{shown}: {answer}");
    // Exactly one answer: the next one is that of QUIT.
    let next = client.say("QUIT");
    assert_eq!(next.code, 221, "{shown}: a second answer {next}");
    answer.code == 250
}

#[test]
fn a_bare_line_end_in_a_command_is_refused() {
    let cluster = Cluster::start(1);
    for hidden in ["NOOP\nMAIL FROM:<a@example.net>", "NOOP\rMAIL FROM:<a@example.net>"] {
        let mut client = SmtpClient::hello(cluster.smtp());
        let reply = client.say(hidden);
        assert!((500..505).contains(&reply.code), "{hidden:?} was answered {reply}");
        // Had the second half been a command, this would be answered 250.
        client.say("RCPT TO:<alice@example.test>").is(503);
        client.quit();
    }
}

#[test]
fn commands_behind_data_in_one_packet_are_the_message() {
    let cluster = Cluster::start(1);
    let mut client = SmtpClient::hello(cluster.smtp());
    let at_once = [
        b"MAIL FROM:<sender@example.net>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\n".as_slice(),
        b"Subject: pipelined\r\n\r\nRSET\r\nQUIT\r\n.\r\nNOOP\r\n",
    ];
    client.line().send(&at_once.concat()).expect("sent");
    let codes: Vec<_> = (0..5).map(|_| client.read_reply().expect("a reply").code).collect();
    // A server may also insist that the client waits for 354 (RFC 2920 §3.1); then nothing of
    // the text may be obeyed, and the client is sent away.
    assert_eq!(codes, [250, 250, 354, 250, 250]);
    client.quit();
    let hers = cluster.read_all(ALICE);
    assert!(hers[0].ends_with(b"\r\n\r\nRSET\r\nQUIT\r\n"), "{}", hers[0].escape_ascii());
}
