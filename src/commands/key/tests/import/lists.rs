//! Tests of the formats that are lists: `csv`, `htpasswd`.

use super::{Desk, fresh};

#[test]
fn csv_is_read_as_rfc_4180_has_it() {
    let desk = Desk::new();
    let keys: Vec<_> = (0..4).map(|_| fresh()).collect();
    let odd = "with \"quotes\", and commas";
    let text = format!(
        "\u{feff}Expires ,\"KEY\",id, Owner\r\n\"2027-01-01T12:00:00+02:00\",{},a,\"{}\"\r\n\r\n,\"{}\",\"b\",\"two\r\nlines\"\r\n\
         never,{},c\r\n90d, {} ,d,\r\n",
        keys[0],
        odd.replace('"', "\"\""),
        keys[1],
        keys[2],
        keys[3]
    );
    let secrets: Vec<_> = keys.iter().map(String::as_str).collect();
    let answer = desk.imported("csv", &text, &secrets);
    assert_eq!(answer.out, "imported 4 keys\n");
    assert_eq!(answer.err, "old:4: `b`: its owner is without control characters here\n");
    let rows: Vec<_> =
        (0..4).map(|n| (desk.field(n, "id"), desk.field(n, "owner"), desk.field(n, "expires"))).collect();
    let row = |id: &str, owner: &str, expires: &str| (id.to_owned(), owner.to_owned(), expires.to_owned());
    assert_eq!(
        rows,
        [
            row("a", odd, "2027-01-01T10:00:00Z"),
            row("b", "two  lines", ""),
            row("c", "", ""),
            row("d", "", "2027-02-19T10:00:00Z"),
        ]
    );
    assert_eq!(desk.identify(&keys[3]).out, "d active\n");
}

#[test]
fn csv_says_what_it_cannot_use() {
    let desk = Desk::new();
    let (a, b) = (fresh(), fresh());
    let text = format!(
        "id,key,expires,team,{a}\nlate,{a},2027-01-01T00:00:00\nhalf,{},2027-01-01,x,y,{b}\nnobody\nsoon,{b},soon\n",
        &b[..20]
    );
    let answer = desk.import("csv", &text, &[], &[&a, &b, &b[..20]]);
    assert_eq!((answer.code, answer.out.as_str()), (1, "imported 1 key, 3 could not be imported\n"));
    assert_eq!(
        answer.err,
        "old:1: the column `team` is not carried over\nold:1: the column `…` is not carried over\n\
         old:2: `late`: its expiry has no zone: it is taken as UTC\n\
         old:3: `half` is not imported: the line has more fields than the header\n\
         old:4: `nobody` is not imported: no gateway takes its key: it is empty\n\
         old:5: `soon` is not imported: its expiry is no time, as 2027-01-01 or 2027-01-01T12:00:00Z\n\
         error: 3 keys could not be imported\n"
    );
    assert_eq!(desk.field(0, "expires"), "2027-01-01T00:00:00Z");
    for header in ["key\n", "id,owner\n", &format!("a,{a}\n"), "id,key,ID\n", "id,key,expires,expires\n"] {
        let answer = desk.import("csv", &format!("{header}a,{a}\n"), &[], &[&a]);
        assert_eq!((answer.code, answer.out.as_str()), (1, ""), "{header}");
        assert!(answer.err.starts_with("error: old:1: "), "{}", answer.err);
    }
}

#[test]
fn expired_keys_are_kept_as_what_they_are() {
    let desk = Desk::new();
    let key = fresh();
    desk.imported("csv", &format!("id,key,expires\na,{key},2020-01-01\n"), &[&key]);
    assert_eq!(desk.identify(&key).out, "a expired\n");
}

#[test]
fn htpasswd_is_lines_of_name_and_key() {
    let desk = Desk::new();
    let keys: Vec<_> = (0..3).map(|_| fresh()).collect();
    let text =
        format!("# who: what\n\n  Ann Lee : {}\r\nbob:{{PLAIN}}{}\nwith-colons:{}:x:y\n", keys[0], keys[1], keys[2]);
    let secrets: Vec<_> = keys.iter().map(String::as_str).collect();
    let answer = desk.imported("htpasswd", &text, &secrets);
    assert_eq!(answer.err, "old:3: `Ann Lee`: its id is \"ann-lee\" here\n");
    assert_eq!((desk.field(0, "id").as_str(), desk.field(0, "owner").as_str()), ("ann-lee", "Ann Lee"));
    assert_eq!(desk.identify(&keys[0]).out, "ann-lee active\n");
    assert_eq!(desk.identify(&keys[1]).out, "bob active\n");
    assert_eq!(desk.identify(&format!("{}:x:y", keys[2])).out, "with-colons active\n");
}

#[test]
fn a_hashed_password_is_no_key() {
    let desk = Desk::new();
    let alone = fresh();
    let text = format!(
        "a:$apr1$r31.....$HqJZimcKQFAMYayBlzkrA/\nb:$2y$05$c4WoMPo3SXsafkva.HHa6uXQZWr7oboPiC2bT/r7q1BB8I2s0BRqC\n\
         c:{{SHA}}VBPuJHI7uixaa6LQGWx4s+5GKNE=\nd:$6$x$y\n{alone}\n"
    );
    let answer = desk.import("htpasswd", &text, &[], &[&alone]);
    assert_eq!((answer.code, answer.out.as_str()), (1, "nothing to import, 5 could not be imported\n"));
    assert_eq!(answer.err.matches("the hash of a password").count(), 4, "{}", answer.err);
    assert!(answer.err.contains("old:5: `` is not imported: the line is not NAME:KEY"), "{}", answer.err);
}
