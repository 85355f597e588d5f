package api

import "github.com/seed27495941/seckill/app/web"

// ReadPlain reads a demand the short way, ReadAny the long one.
func ReadPlain(body []byte) (quantity int64, request string, ok bool) {
	d, ok := readPlain(body)
	return d.Quantity, d.RequestID, ok
}

// ReadAny is described at ReadPlain.
func ReadAny(body []byte) (quantity int64, request string, refusal *web.Problem) {
	d, refusal := decode[demand](body)
	return d.Quantity, d.RequestID, refusal
}

// SetRoom sets how many streams there may be, while there are none.
func (s *Service) SetRoom(streams int) { s.room = make(chan struct{}, streams) }
