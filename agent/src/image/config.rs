//! What the image's configuration gives to commands.

use std::collections::HashMap;

use postern_proto as proto;
use proto::EnvVar;

use crate::files::User;

/// Where programs are looked for when nobody says; Docker's own default.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A name and a value, as execve(2) will join them.
pub type Var = (Vec<u8>, Vec<u8>);

/// The image's defaults for commands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Defaults {
    /// `Env`, without what cannot be in an environment.
    pub env: Vec<Var>,
    /// `User`; empty: root.
    pub user: String,
    /// `WorkingDir`; empty: `/`.
    pub working_dir: String,
    /// `Entrypoint`.
    pub entrypoint: Vec<Vec<u8>>,
    /// `Cmd`.
    pub cmd: Vec<Vec<u8>>,
}

impl From<&proto::ImageConfig> for Defaults {
    fn from(config: &proto::ImageConfig) -> Self {
        Self {
            env: config.env.iter().filter(|v| is_variable(v)).map(own).collect(),
            user: config.user.clone(),
            working_dir: config.working_dir.clone(),
            entrypoint: config.entrypoint.iter().map(|arg| arg.to_vec()).collect(),
            cmd: config.cmd.iter().map(|arg| arg.to_vec()).collect(),
        }
    }
}

impl Defaults {
    /// The environment of a command: the user's own variables and a `PATH`, over
    /// them the image's, the session's and the command's; the last one of a name
    /// counts. So `HOME` is what passwd says unless anybody says otherwise, as
    /// with Docker.
    pub fn merge_env(&self, session: &[EnvVar], command: &[EnvVar], user: &User) -> Vec<Var> {
        let own_vars = [
            ("PATH", DEFAULT_PATH),
            ("HOME", &user.home),
            ("USER", &user.name),
            ("LOGNAME", &user.name),
            ("SHELL", &user.shell),
        ];
        let all = own_vars
            .into_iter()
            .map(|(name, value)| (name.as_bytes(), value.as_bytes()))
            .chain(self.env.iter().map(|(name, value)| (&name[..], &value[..])))
            .chain(session.iter().chain(command).map(|v| (&v.name[..], &v.value[..])));
        let mut places: HashMap<&[u8], usize> = HashMap::new();
        let mut merged: Vec<(&[u8], &[u8])> = Vec::new();
        for (name, value) in all {
            match places.get(name).and_then(|place| merged.get_mut(*place)) {
                Some(there) => there.1 = value,
                None => {
                    places.insert(name, merged.len());
                    merged.push((name, value));
                }
            }
        }
        merged.into_iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect()
    }
}

/// Whether execve(2) could pass it on and the program would read the same.
pub fn is_variable(var: &EnvVar) -> bool {
    let name_ok = !var.name.is_empty() && !var.name.iter().any(|b| *b == b'=' || *b == 0);
    name_ok && !var.value.contains(&0)
}

fn own(var: &EnvVar) -> Var {
    (var.name.to_vec(), var.value.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(env: &[Var], name: &str) -> Option<String> {
        let mut found = env.iter().filter(|(n, _)| n == name.as_bytes());
        let value = found.next().map(|(_, v)| String::from_utf8(v.clone()).unwrap());
        assert!(found.next().is_none(), "{name} is there twice");
        value
    }

    fn user() -> User {
        User {
            name: "ada".into(),
            home: "/home/ada".into(),
            shell: "/bin/zsh".into(),
            ..User::root()
        }
    }

    #[test]
    fn the_last_of_a_name_counts_and_the_user_fills_what_nobody_says() {
        let config = proto::ImageConfig {
            env: vec![
                EnvVar::new("PATH", "/image"),
                EnvVar::new("A", "image"),
                EnvVar::new("A", "image2"),
            ],
            ..Default::default()
        };
        let defaults = Defaults::from(&config);
        let session = [EnvVar::new("A", "session"), EnvVar::new("B", "session")];
        let command = [EnvVar::new("B", "command"), EnvVar::new("HOME", "/elsewhere")];
        let env = defaults.merge_env(&session, &command, &user());
        for (name, want) in [
            ("PATH", "/image"),
            ("A", "session"),
            ("B", "command"),
            ("HOME", "/elsewhere"),
            ("USER", "ada"),
            ("LOGNAME", "ada"),
            ("SHELL", "/bin/zsh"),
        ] {
            assert_eq!(value(&env, name).as_deref(), Some(want), "{name}");
        }
        let bare = Defaults::default().merge_env(&[], &[], &user());
        assert_eq!(value(&bare, "PATH").as_deref(), Some(DEFAULT_PATH));
        assert_eq!(value(&bare, "HOME").as_deref(), Some("/home/ada"));
        assert_eq!(bare.len(), 5);
    }

    #[test]
    fn what_cannot_be_in_an_environment_is_left_out_of_the_images() {
        let config = proto::ImageConfig {
            env: vec![
                EnvVar::new("", "x"),
                EnvVar::new("a=b", "x"),
                EnvVar::new("n\0", "x"),
                EnvVar::new("v", "x\0"),
                EnvVar::new("ok", "=x="),
            ],
            ..Default::default()
        };
        assert_eq!(Defaults::from(&config).env, [(b"ok".to_vec(), b"=x=".to_vec())]);
    }
}
