//! Nudges by way of an MQTT broker.

use std::path::PathBuf;

use clap::Args;

/// Flags about a broker.
#[derive(Args)]
pub(crate) struct BrokerArgs {
    /// An MQTT broker to tell and hear of news by: `mqtts://HOST[:PORT][/TOPIC]`, or `mqtt://` on this machine
    #[arg(long = "mqtt", value_name = "URL")]
    pub(crate) mqtt: Option<String>,
    /// Who to be at the broker
    #[arg(long, value_name = "NAME", requires = "mqtt")]
    pub(crate) mqtt_user: Option<String>,
    /// A file with the password at the broker
    #[arg(long, value_name = "FILE", requires = "mqtt_user")]
    pub(crate) mqtt_password_file: Option<PathBuf>,
    /// Whom to believe to be the broker: a file with certificate authorities (PEM), or the fingerprint of one; this
    /// computer's own if not given
    #[arg(long, value_name = "FILE|sha256:HEX", requires = "mqtt")]
    pub(crate) mqtt_ca: Option<String>,
}

impl BrokerArgs {
    /// The same flags for another process of this program.
    #[cfg(feature = "control")]
    pub(crate) fn words(&self) -> Vec<std::ffi::OsString> {
        let file = self.mqtt_password_file.as_ref().map(Into::into);
        let flags = [
            ("--mqtt", self.mqtt.as_ref().map(Into::into)),
            ("--mqtt-user", self.mqtt_user.as_ref().map(Into::into)),
            ("--mqtt-password-file", file),
            ("--mqtt-ca", self.mqtt_ca.as_ref().map(Into::into)),
        ];
        let given = flags.into_iter().filter_map(|(flag, value)| Some([flag.into(), value?]));
        given.flatten().collect()
    }
}
