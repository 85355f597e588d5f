package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Sessions keeps sessions in a file that only its owner can read, one for each service.
type Sessions struct{ File string }

// Get is the session with a service, none if there is none that has not expired.
func (s Sessions) Get(base string) (Session, error) {
	all, err := s.read()
	if err != nil || time.Now().After(all[base].Expires) {
		return Session{}, err
	}
	return all[base], nil
}

// Set keeps the session with a service; the empty one takes it away.
func (s Sessions) Set(base string, session Session) error {
	all, err := s.read()
	if err != nil {
		return err
	}
	if session == (Session{}) {
		delete(all, base)
	} else {
		all[base] = session
	}
	return s.write(all)
}

func (s Sessions) read() (map[string]Session, error) {
	all := map[string]Session{}
	text, err := os.ReadFile(s.File)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return all, nil
	case err != nil:
		return nil, err
	}
	if err := json.Unmarshal(text, &all); err != nil || all == nil {
		return nil, fmt.Errorf("%s: expected sessions as 'seckill login' writes them; delete it and log in again", s.File)
	}
	return all, nil
}

// write replaces the file as a whole. CreateTemp's files are their owner's alone.
func (s Sessions) write(all map[string]Session) (err error) {
	text, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(s.File), 0o700); err != nil {
		return err
	}
	file, err := os.CreateTemp(filepath.Dir(s.File), filepath.Base(s.File)+".*")
	if err != nil {
		return err
	}
	_, err = file.Write(append(text, '\n'))
	err = errors.Join(err, file.Close())
	if err == nil {
		err = os.Rename(file.Name(), s.File)
	}
	if err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	return nil
}
