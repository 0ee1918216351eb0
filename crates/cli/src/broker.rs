//! The broker that `--mqtt` and its companions name.

use edgeward_agent::Broker;

use crate::args::BrokerArgs;
use crate::command::agent::roots;
use crate::output::{Failure, with_causes};

/// The broker, if one is named.
pub(crate) fn broker(args: &BrokerArgs) -> Result<Option<Broker>, Failure> {
    let Some(address) = &args.mqtt else { return Ok(None) };
    let failed = |error| Failure::new("broker", format!("--mqtt: {}", with_causes(&error)));
    let mut broker = Broker::parse(address).map_err(failed)?;
    if let Some(ca) = &args.mqtt_ca {
        broker = broker.believing(roots(ca)?);
    }
    if let Some(user) = &args.mqtt_user {
        broker = broker.logging_in(user, args.mqtt_password_file.as_deref()).map_err(failed)?;
    }
    Ok(Some(broker))
}
