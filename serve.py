import socket,sys
s=socket.socket(); s.setsockopt(socket.SOL_SOCKET,socket.SO_REUSEADDR,1); s.bind(("127.0.0.1",18735)); s.listen(5)
body=b"".join(b'%x\r\n%s\r\n'%(len(l),l) for l in open("/tmp/fm/three.ndjson","rb"))+b"0\r\n\r\n"
while 1:
    c,_=s.accept()
    d=b""
    while b"\r\n\r\n" not in d: d+=c.recv(65536)
    c.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"+body); c.close()
