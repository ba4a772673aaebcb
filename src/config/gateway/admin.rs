//! `[admin]`

use super::listener::{address, is_taken};
use super::{Admin, Listener};
use crate::config::problems::Wrong;
use crate::config::reader::Table;

/// Whoever reaches it may ask, without a key: nobody does unless the file says where.
pub(super) fn admin(file: &mut Table<'_>, listeners: &[Listener]) -> Admin {
    let Some(mut table) = file.table("admin") else {
        return Admin::default();
    };
    let item = table.get("address").filter(|item| !item.says("off"));
    let address = item.as_ref().and_then(address);
    if let (Some(item), Some(address)) = (&item, &address) {
        if is_taken(listeners, address) {
            item.wrong(Wrong::new("duplicate-listener", format!("a listener has the address `{address}`")));
        }
        if !address.is_local() {
            let wrong = Wrong::new("exposed-admin", format!("`{address}` can be reached from other machines"))
                .hint("it asks for no key and has no TLS: name an address that only who may ask can reach");
            table.problems().warn(item.span.clone(), wrong);
        }
    }
    table.finish();
    Admin { address }
}
