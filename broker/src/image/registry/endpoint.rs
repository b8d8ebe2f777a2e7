//! Where a registry is, and how it is spoken to.

use reqwest::Url;
use url_host::{is_loopback, is_own};

use super::super::ImageError;

/// Docker Hub's name in references, and where it answers.
const DOCKER_HUB: &str = "docker.io";
const DOCKER_HUB_HOST: &str = "registry-1.docker.io";

/// One place to ask.
#[derive(Debug, Clone)]
pub(super) struct Endpoint {
    /// For messages, and what logins are kept by: HOST[:PORT].
    pub(super) name: String,
    /// Up to and without `/v2/`.
    base: String,
}

impl Endpoint {
    /// Of a manifest or blob. Path and kind have been parsed, so nothing in them
    /// needs escaping.
    pub(super) fn url(&self, repository: &str, what: &str) -> Result<Url, ImageError> {
        let text = format!("{}/v2/{repository}/{what}", self.base);
        Url::parse(&text).map_err(|e| ImageError::BadReference {
            reference: format!("{}/{repository}", self.name),
            problem: format!("makes no URL: {e}"),
        })
    }

    /// Plain HTTP: this host, or a mirror that the operator wrote so.
    pub(super) fn is_plain(&self) -> bool {
        self.base.starts_with("http://")
    }

    /// On this host, so that it may send us elsewhere on this host.
    pub(super) fn is_own(&self) -> bool {
        Url::parse(&self.base).is_ok_and(|url| is_own(&url))
    }
}

/// The mirrors of a registry, then itself.
pub(super) fn of(registry: &str, mirrors: &[(String, String)]) -> Vec<Endpoint> {
    let host = if registry == DOCKER_HUB { DOCKER_HUB_HOST } else { registry };
    let plain = Url::parse(&format!("http://{host}")).is_ok_and(|url| is_loopback(&url));
    let scheme = if plain { "http" } else { "https" };
    let own = Endpoint { name: registry.to_owned(), base: format!("{scheme}://{host}") };
    let mirrored = mirrors.iter().filter(|(of, _)| of == registry);
    let mirrored = mirrored.filter_map(|(_, base)| mirror(base).ok());
    mirrored.chain([own]).collect()
}

/// Refuses what is no URL when the broker is set up, not at the first pull.
pub(super) fn check_mirrors(mirrors: &[(String, String)]) -> Result<(), String> {
    mirrors.iter().try_for_each(|(of, base)| {
        mirror(base).map(drop).map_err(|problem| format!("the mirror {base} of {of} {problem}"))
    })
}

fn mirror(base: &str) -> Result<Endpoint, String> {
    let url = Url::parse(base).map_err(|e| format!("is no URL: {e}"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err("is not of the form http[s]://HOST[:PORT][/PATH]".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
        return Err("must have no user, password or query; logins are docker's".to_owned());
    }
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    let name = format!("{}{port}", url.host_str().unwrap_or_default());
    let base = url.as_str().trim_end_matches('/').trim_end_matches("/v2").to_owned();
    Ok(Endpoint { name, base })
}

/// What a URL's host says without asking a name server.
pub(super) mod url_host {
    use std::net::IpAddr;

    use reqwest::Url;

    /// This very host or its link: where an answer from elsewhere must not lead.
    pub(in super::super) fn is_own(url: &Url) -> bool {
        is_loopback(url)
            || match ip(url) {
                Some(IpAddr::V4(ip)) => ip.is_unspecified() || ip.is_link_local(),
                Some(IpAddr::V6(ip)) => ip.is_unspecified() || ip.is_unicast_link_local(),
                None => false,
            }
    }

    /// Where nobody else listens in.
    pub(in super::super) fn is_loopback(url: &Url) -> bool {
        match ip(url) {
            Some(ip) => ip.is_loopback(),
            None => {
                let host = url.host_str().unwrap_or_default().trim_end_matches('.');
                host == "localhost" || host.ends_with(".localhost")
            }
        }
    }

    fn ip(url: &Url) -> Option<IpAddr> {
        let host = url.host_str()?.trim_start_matches('[').trim_end_matches(']');
        host.parse::<IpAddr>().ok().map(|ip| ip.to_canonical())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_this_host_alone() {
        for (registry, base) in [
            ("docker.io", "https://registry-1.docker.io/v2/a/b/x"),
            ("127.0.0.1:5000", "http://127.0.0.1:5000/v2/a/b/x"),
            ("localhost:5000", "http://localhost:5000/v2/a/b/x"),
            ("169.254.169.254", "https://169.254.169.254/v2/a/b/x"),
            ("10.0.0.1:5000", "https://10.0.0.1:5000/v2/a/b/x"),
            ("localhost.example", "https://localhost.example/v2/a/b/x"),
        ] {
            let endpoints = of(registry, &[]);
            assert_eq!(endpoints[0].url("a/b", "x").unwrap().as_str(), base);
        }
    }

    #[test]
    fn mirrors_come_first_and_only_for_their_own() {
        let mirrors = [("docker.io".to_owned(), "http://10.0.0.1:5000/hub/".to_owned())];
        check_mirrors(&mirrors).unwrap();
        let endpoints = of("docker.io", &mirrors);
        assert_eq!(endpoints[0].url("a", "x").unwrap().as_str(), "http://10.0.0.1:5000/hub/v2/a/x");
        assert_eq!((endpoints[0].name.as_str(), endpoints.len()), ("10.0.0.1:5000", 2));
        assert_eq!(of("registry.example", &mirrors).len(), 1);
        for bad in ["10.0.0.1:5000", "ftp://x", "https://u:p@x", "https://x?y", ""] {
            assert!(check_mirrors(&[("a".to_owned(), bad.to_owned())]).is_err(), "{bad}");
        }
    }

    #[test]
    fn this_host_by_its_many_names() {
        let own = |text: &str| is_own(&Url::parse(text).unwrap());
        for url in [
            "http://127.9.9.9",
            "http://[::1]:1",
            "http://localhost.",
            "http://0.0.0.0",
            "http://2130706433",
            "http://[::ffff:127.0.0.1]",
            "http://169.254.169.254",
        ] {
            assert!(own(url), "{url}");
        }
        assert!(!own("https://localhost.example") && !own("http://10.0.0.1"));
    }
}
