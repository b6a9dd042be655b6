package ledger

import "sync"

// knownAccounts remembers the ids of accounts, which never change unless the database itself is replaced by an older state of it. It holds the ones used of late: when the younger half is full,
// the older one is let go.
type knownAccounts struct {
	mu             sync.RWMutex
	charts         map[Account]uint32 // numbers of accounts but for their owner's id: a few dozen
	younger, older map[shortAccount]int64
}

// shortAccount is an account without its texts, so that many fit into memory and the garbage collector does not look into them.
type shortAccount struct {
	ownerID int64
	chart   uint32
}

// Each half takes at most some fifty megabytes.
const knownHalf = 1 << 20

// id is the id of an account, 0 if it is not known.
func (k *knownAccounts) id(a Account) int64 {
	k.mu.RLock()
	short := k.short(a)
	id, young := k.younger[short]
	if !young {
		id = k.older[short]
	}
	k.mu.RUnlock()
	if !young && id != 0 {
		k.add(a, id)
	}
	return id
}

// short is the account without its texts; its chart is 0 if there is none of the kind yet.
func (k *knownAccounts) short(a Account) shortAccount {
	owner := a.OwnerID
	a.OwnerID = 0
	return shortAccount{owner, k.charts[a]}
}

// add remembers an account that is committed.
func (k *knownAccounts) add(a Account, id int64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	short := k.short(a)
	if short.chart == 0 {
		if k.charts == nil {
			k.charts = map[Account]uint32{}
		}
		short.chart = uint32(len(k.charts) + 1)
		a.OwnerID = 0
		k.charts[a] = short.chart
	}
	if k.younger == nil || len(k.younger) >= knownHalf {
		k.younger, k.older = map[shortAccount]int64{}, k.younger
	}
	k.younger[short] = id
}

// forget lets go of everything.
func (k *knownAccounts) forget() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.younger, k.older = nil, nil
}
