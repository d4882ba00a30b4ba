//! Is a file of users read as it is meant, and each fault told with its line?
//! It does not know the store.

use proptest::prelude::*;

use super::*;

fn judge(hash: &str) -> Result<(), String> {
    if hash.starts_with('$') { Ok(()) } else { Err("no known kind".to_owned()) }
}

fn told(text: &str, format: Format) -> (Vec<String>, Vec<String>) {
    let (rows, faults) = read(text.as_bytes(), format, judge);
    let rows = rows.iter().map(|row| format!("{} {}", row.line, row.address)).collect();
    (rows, faults.iter().map(Fault::to_string).collect())
}

#[test]
fn rows_of_both_formats() {
    let csv = "\u{feff}Address, password_hash ,quota,name\r\n\r\n\
               A@d.test,$6$x,2 GiB,\"A,\nb\"\r\n\r\n\
               b@d.test,$6$y,,\r\n";
    let (rows, faults) = read(csv.as_bytes(), Format::Csv, judge);
    // A name with a line end in it is a fault, told where its row begins.
    assert_eq!(rows.len(), 1, "{faults:?}");
    assert_eq!((rows[0].line, rows[0].address.to_string().as_str()), (6, "b@d.test"));
    assert_eq!(rows[0].quota_octets, None);
    assert_eq!(faults, [Fault { line: 3, problem: Problem::Name }]);
    let json = "{\"address\":\"a@d.test\",\"password\":\" x \",\"quota\":\"2 GiB\"}\n\n\
                {\"address\":\"b@d.test\",\"password_hash\":\"$6$\",\"quota_messages\":7}";
    let (rows, faults) = read(json.as_bytes(), Format::JsonLines, judge);
    assert!(faults.is_empty(), "{faults:?}");
    assert_eq!(rows[0].quota_octets, Some(2 << 30));
    assert!(matches!(&rows[0].key, Key::Password(word) if word.reveal() == " x "));
    assert_eq!((rows[1].line, rows[1].quota_messages), (3, Some(7)));
}

#[test]
fn all_faults_with_their_lines() {
    let csv = "address,password,password_hash,quota,quota_messages\n\
               a@d.test,x,,,\n\
               nobody,x,,,\n\
               A@d.test,x,,,\n\
               b@d.test,,,,\n\
               c@d.test,x,$6$,,\n\
               d@d.test,,plain,,\n\
               e@d.test,x,,big,\n\
               f@d.test,x,,,-1\n\
               g@d.test,x\n\
               ,x,,,\n";
    let (rows, faults) = told(csv, Format::Csv);
    assert_eq!(rows, ["2 a@d.test"]);
    let lines: Vec<_> = faults.iter().map(|fault| fault.split(':').next().unwrap()).collect();
    assert_eq!(lines, ["3", "4", "5", "6", "7", "8", "9", "10", "11"], "{faults:#?}");
    assert!(faults[1].contains("line 2 already"), "{}", faults[1]);
    let (_, faults) = told("adress,password\nx,y\n", Format::Csv);
    assert_eq!(faults.len(), 2, "{faults:?}");
    assert!(faults[0].contains("no column `adress`"), "{faults:?}");
    let (rows, faults) = told("{\"address\":1}\n[]\n{\"a\": 1}\n", Format::JsonLines);
    assert!(rows.is_empty());
    assert_eq!(faults.len(), 4, "{faults:#?}");
}

proptest! {
    #[test]
    fn nothing_makes_it_panic(text in "(address,password\n)?[a-z@.,\"\r\n$ ]{0,60}") {
        for format in [Format::Csv, Format::JsonLines] {
            let (rows, faults) = read(text.as_bytes(), format, judge);
            let lines = text.lines().count() as u64 + 1;
            prop_assert!(rows.iter().all(|row| row.line <= lines), "{:?}", rows);
            prop_assert!(faults.iter().all(|fault| fault.line <= lines), "{:?}", faults);
        }
    }
}
