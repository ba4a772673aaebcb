//! RFC 9112 read by somebody who forgives nothing and is in no hurry: what this reads, everybody reads alike. It shares no
//! line with the gateway.

/// A request as it stands in the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

/// What stands behind the last whole request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Rest {
    Nothing,
    Partial,
    Bad(String),
}

/// Every whole request from the front.
pub(crate) fn requests(mut bytes: &[u8]) -> (Vec<Request>, Rest) {
    let mut all = Vec::new();
    loop {
        if bytes.is_empty() {
            return (all, Rest::Nothing);
        }
        match request(bytes) {
            Ok(Some((request, length))) => {
                all.push(request);
                bytes = &bytes[length..];
            }
            Ok(None) => return (all, Rest::Partial),
            Err(why) => return (all, Rest::Bad(format!("{why}: {:?}", String::from_utf8_lossy(bytes)))),
        }
    }
}

fn request(bytes: &[u8]) -> Result<Option<(Request, usize)>, &'static str> {
    let Some(head_len) = bytes.windows(4).position(|w| w == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = latin(&bytes[..head_len]);
    let body = &bytes[head_len + 4..];
    if head.bytes().zip(head.bytes().skip(1)).any(|(a, b)| (a == b'\r') != (b == b'\n')) || head.ends_with('\r') {
        return Err("a bare CR or LF");
    }
    let mut lines = head.split("\r\n");
    let words: Vec<&str> = lines.next().unwrap_or_default().split(' ').collect();
    let [method, target, version @ ("HTTP/1.1" | "HTTP/1.0")] = words[..] else { return Err("a bad request line") };
    if method.is_empty() || !method.chars().all(is_token) || !is_target(target) {
        return Err("a bad method or target");
    }
    let is_new = version == "HTTP/1.1";
    let fields = lines.map(field).collect::<Result<Vec<_>, _>>()?;
    let all = |name: &str| -> Vec<&str> {
        fields.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str()).collect()
    };
    if all("host").len() != 1 && (is_new || !all("host").is_empty()) {
        return Err("not one Host");
    }
    let (target, authority) = match target.strip_prefix("http://").and_then(|rest| rest.split_once('/')) {
        Some((authority, _)) => (&target[7 + authority.len()..], Some(authority)),
        None => (target, None),
    };
    if authority.is_some_and(|authority| all("host") != [authority]) {
        return Err("two hosts");
    }
    if fields.iter().any(|(n, _)| ["content_length", "transfer_encoding"].contains(&n.to_lowercase().as_str())) {
        return Err("a length that some servers take for one");
    }
    let made = |body: &[u8], more: usize| {
        let (method, target) = (method.to_owned(), target.to_owned());
        Ok(Some((Request { method, target, fields: fields.clone(), body: body.to_vec() }, head_len + 4 + more)))
    };
    match (all("content-length")[..].as_ref(), all("transfer-encoding")[..].as_ref()) {
        ([], []) => made(b"", 0),
        ([length], []) if !length.is_empty() && length.bytes().all(|b| b.is_ascii_digit()) => {
            let length: usize = length.parse().map_err(|_| "a length beyond counting")?;
            body.get(..length).map_or(Ok(None), |body| made(body, length))
        }
        ([], [coding]) if is_new && coding.eq_ignore_ascii_case("chunked") => match chunked(body)? {
            Some((data, more)) => made(&data, more),
            None => Ok(None),
        },
        _ => Err("an ambiguous frame"),
    }
}

fn chunked(bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, &'static str> {
    let (mut data, mut at) = (Vec::new(), 0);
    loop {
        let Some(line) = line(&bytes[at..])? else { return Ok(None) };
        at += line.len() + 2;
        if line.is_empty() || line.len() > 16 || !line.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err("a bad chunk size");
        }
        let size = usize::from_str_radix(&line, 16).map_err(|_| "a chunk beyond counting")?;
        if size == 0 {
            break;
        }
        let end = at.checked_add(size).ok_or("a chunk beyond counting")?;
        match (bytes.get(at..end), bytes.get(end..end + 2)) {
            (Some(chunk), Some(b"\r\n")) => data.extend_from_slice(chunk),
            (_, None) => return Ok(None),
            _ => return Err("a chunk without an end"),
        }
        at = end + 2;
    }
    loop {
        let Some(line) = line(&bytes[at..])? else { return Ok(None) };
        at += line.len() + 2;
        if line.is_empty() {
            return Ok(Some((data, at)));
        }
        let (name, _) = field(&line)?;
        if ["content-length", "transfer-encoding", "host"].contains(&name.to_lowercase().as_str()) {
            return Err("a trailer that frames or routes");
        }
    }
}

fn line(bytes: &[u8]) -> Result<Option<String>, &'static str> {
    match bytes.iter().position(|b| matches!(b, b'\r' | b'\n')) {
        Some(end) if bytes[end..].starts_with(b"\r\n") => Ok(Some(latin(&bytes[..end]))),
        Some(end) if bytes[end..] == *b"\r" => Ok(None),
        Some(_) => Err("a bare CR or LF"),
        None => Ok(None),
    }
}

fn field(line: &str) -> Result<(String, String), &'static str> {
    let (name, value) = line.split_once(':').ok_or("a field without a colon")?;
    if name.is_empty() || !name.chars().all(is_token) {
        return Err("a bad field name");
    }
    if value.chars().any(|c| (c < ' ' && c != '\t') || c == '\u{7f}') {
        return Err("a control character in a value");
    }
    Ok((name.to_owned(), value.trim_matches([' ', '\t']).to_owned()))
}

fn is_target(target: &str) -> bool {
    let visible = |c: char| c > ' ' && c != '\u{7f}' && c != '#';
    (target.starts_with('/') || target.starts_with("http://") || target == "*") && target.chars().all(visible)
}

fn is_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
}

fn latin(bytes: &[u8]) -> String {
    bytes.iter().map(|b| char::from(*b)).collect()
}

#[test]
fn the_reader_forgives_nothing() {
    let one = b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n\r\n";
    let (all, rest) = requests(&[one.as_slice(), b"GET /b HTTP/1.1\r\nHost: a\r\n\r\nGET"].concat());
    assert_eq!((all.len(), all[0].body.as_slice(), all[1].target.as_str()), (2, b"hello".as_slice(), "/b"));
    assert_eq!(rest, Rest::Partial);
    for bad in [
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5 \r\nhello\r\n0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n",
    ] {
        assert!(matches!(requests(bad.as_bytes()).1, Rest::Bad(_)), "{bad:?}");
    }
}
