//! Finding the broker: POSTERN_URL, else the usual port, else one made for the call.

use std::path::Path;

use crate::client::{Client, Target};
use crate::embedded::Embedded;
use crate::error::Error;

/// Where `postern serve` listens if it is not told otherwise.
pub(crate) const DEFAULT_ADDRESS: &str = "127.0.0.1:7070";

/// The port of a URL that names none.
const HTTP_PORT: u16 = 80;

/// A broker that must be running already.
pub(crate) async fn daemon() -> Result<Client, Error> {
    match find().await? {
        Some(client) => Ok(client),
        None => Err(Error::Unreachable {
            target: format!("http://{DEFAULT_ADDRESS}"),
            source: std::io::ErrorKind::ConnectionRefused.into(),
        }),
    }
}

/// A running broker, or one for this call; it ends with the returned handle.
pub(crate) async fn or_embed(images: Option<&Path>) -> Result<(Client, Option<Embedded>), Error> {
    if let Some(client) = find().await? {
        return Ok((client, None));
    }
    let embedded = Embedded::start(images).await?;
    let client = Client::new(Target::Unix(embedded.socket().to_owned()), None);
    Ok((client, Some(embedded)))
}

async fn find() -> Result<Option<Client>, Error> {
    let key = std::env::var("POSTERN_API_KEY").ok().filter(|key| !key.is_empty());
    if let Ok(url) = std::env::var("POSTERN_URL")
        && !url.is_empty()
    {
        return Ok(Some(Client::new(parse_url(&url)?, key)));
    }
    let client = Client::new(Target::Tcp(DEFAULT_ADDRESS.to_owned()), key);
    // Something else may listen there.
    let is_postern = client.probe().await.is_ok_and(|version| version.name == "postern");
    Ok(is_postern.then_some(client))
}

fn parse_url(url: &str) -> Result<Target, Error> {
    if let Some(path) = url.strip_prefix("unix:") {
        return Ok(Target::Unix(path.trim_start_matches("//").into()));
    }
    let Some(rest) = url.strip_prefix("http://") else {
        return Err(Error::usage(format!(
            "POSTERN_URL must be http://HOST:PORT or unix:PATH, not {url}"
        )));
    };
    let authority = rest.trim_end_matches('/');
    if authority.is_empty() || authority.contains(['/', '?', '#', '@']) {
        return Err(Error::usage(format!(
            "POSTERN_URL must name a host and a port only, not {url}"
        )));
    }
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    Ok(Target::Tcp(if has_port {
        authority.to_owned()
    } else {
        format!("{authority}:{HTTP_PORT}")
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let tcp = |text: &str| Target::Tcp(text.to_owned());
        assert_eq!(parse_url("http://127.0.0.1:7070/").unwrap(), tcp("127.0.0.1:7070"));
        assert_eq!(parse_url("http://[::1]:8").unwrap(), tcp("[::1]:8"));
        assert_eq!(parse_url("http://[::1]").unwrap(), tcp("[::1]:80"));
        assert_eq!(parse_url("http://box").unwrap(), tcp("box:80"));
        assert_eq!(parse_url("unix:/run/p.sock").unwrap(), Target::Unix("/run/p.sock".into()));
        for bad in ["https://x", "x:1", "http://", "http://x/v1", "http://u@x"] {
            assert!(parse_url(bad).is_err(), "{bad}");
        }
    }
}
