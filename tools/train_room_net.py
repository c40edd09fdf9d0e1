from geoguide3d.cli.train_room_net import main

raise SystemExit(main())
