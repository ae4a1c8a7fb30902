//! The keys that every process shares.

use std::time::Duration;

use futures_util::future::join_all;
use messenger_auth::{
    model::{Keys, SigningKey, StoredSecret},
    store::Replaces,
};
use messenger_core::Timestamp;

use crate::{MONTH, NOW, common::TestStore};

fn signing_key(n: u8, signs_from: Timestamp) -> SigningKey {
    let private_key = StoredSecret { bytes: vec![n; 48], sealed_by: None };
    SigningKey { kid: format!("key-{n}"), private_key, signs_from }
}

pub async fn keys_are_agreed_on(test_store: &TestStore) {
    let offered = |n: u8| Keys {
        signing: vec![signing_key(n, Timestamp::default())],
        refresh_secret: StoredSecret { bytes: vec![n; 32], sealed_by: None },
    };
    let (one, other) = tokio::join!(test_store.open(), test_store.open());
    let offers = (0..10).map(|n| if n % 2 == 0 { &one } else { &other }.agree_on_keys(offered(n), NOW));
    let agreed: Vec<Keys> = join_all(offers).await.into_iter().map(|keys| keys.expect("agreed")).collect();
    assert!(agreed.iter().all(|keys| *keys == agreed[0] && keys.signing.len() == 1));
    assert!(test_store.open().await.agree_on_keys(offered(99), NOW).await.expect("agreed") == agreed[0]);
}

pub async fn keys_take_turns(test_store: &TestStore) {
    let store = test_store.open().await;
    let kids = |keys: Keys| keys.signing.into_iter().map(|key| key.kid).collect::<Vec<_>>();
    assert!(store.keys().await.is_err(), "there are none yet");
    let offered = Keys {
        signing: vec![signing_key(1, Timestamp::default())],
        refresh_secret: StoredSecret { bytes: vec![1; 32], sealed_by: None },
    };
    store.agree_on_keys(offered.clone(), NOW).await.expect("agreed");
    let soon = NOW.plus(Duration::from_secs(120));
    store.add_key(signing_key(2, soon), Replaces::InTurn, NOW).await.expect("added");
    assert_eq!(kids(store.keys().await.expect("read")), ["key-1", "key-2"]);
    assert_eq!(kids(store.agree_on_keys(offered, NOW).await.expect("agreed")), ["key-1", "key-2"]);
    // The first is published until a while after the second began to sign.
    store.purge_keys(soon).await.expect("nothing to do");
    assert_eq!(kids(store.keys().await.expect("read")).len(), 2);
    store.purge_keys(soon.plus(Duration::from_secs(1))).await.expect("purged");
    assert_eq!(kids(store.keys().await.expect("read")), ["key-2"]);
    store.purge_keys(soon.plus(MONTH)).await.expect("the last one stays");
    store.add_key(signing_key(3, soon), Replaces::All, NOW).await.expect("added");
    assert_eq!(kids(store.keys().await.expect("read")), ["key-3"]);
}

pub async fn keys_are_sealed_in_place(test_store: &TestStore) {
    let store = test_store.open().await;
    let offered = Keys {
        signing: vec![signing_key(1, Timestamp::default())],
        refresh_secret: StoredSecret { bytes: vec![1; 32], sealed_by: None },
    };
    store.agree_on_keys(offered, NOW).await.expect("agreed");
    let sealed = |n: u8| StoredSecret { bytes: vec![n; 76], sealed_by: Some("one".to_owned()) };
    store.seal_key("key-1", sealed(7)).await.expect("sealed");
    store.seal_refresh_secret(sealed(8)).await.expect("sealed");
    let keys = store.keys().await.expect("read");
    assert!(keys.signing[0].private_key == sealed(7) && keys.refresh_secret == sealed(8));
}
