package ledger

import "sync"

// knownAccounts remembers the ids of accounts, which never change. It holds the ones used of late: when the younger half is full,
// the older one is let go.
type knownAccounts struct {
	mu             sync.RWMutex
	younger, older map[Account]int64
}

// Each half takes at most some twenty megabytes.
const knownHalf = 1 << 17

// id is the id of an account, 0 if it is not known.
func (k *knownAccounts) id(a Account) int64 {
	k.mu.RLock()
	id, young := k.younger[a]
	if !young {
		id = k.older[a]
	}
	k.mu.RUnlock()
	if !young && id != 0 {
		k.add(a, id)
	}
	return id
}

// add remembers an account that is committed.
func (k *knownAccounts) add(a Account, id int64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.younger == nil || len(k.younger) >= knownHalf {
		k.younger, k.older = map[Account]int64{}, k.younger
	}
	k.younger[a] = id
}
